// The file that lines of a log are appended to, whatever kind it is: a regular file, a named pipe,
// a terminal, or a descriptor that the process was started with, such as a pipe or a socket.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

namespace server {

class LogFile {
public:
  // Opens a file for appending, and creates it if there is none. "-" is standard output.
  // "/dev/stderr", "/dev/fd/N" and the like, and links to them, are the descriptors that they name.
  // A named pipe needs no reader. Throws std::runtime_error with one line that names the file.
  explicit LogFile(std::string name);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Opens the name again, because the file was renamed or removed. What other threads write
  // meanwhile goes to one of the two files. Returns what went wrong; the file that is open then
  // stays. A descriptor of the process has nothing to reopen.
  std::optional<std::string> reopen();

  // Changes with each reopening that succeeds. A line that was begun in one file must not end in
  // the next one.
  unsigned generation() const noexcept { return generation_; }

  // Appends the front of `bytes` without waiting for a reader, and returns how many bytes were
  // taken: 0 when there is no room or the file has failed. A pipe takes up to PIPE_BUF bytes whole
  // or not at all. A write to a regular file takes as long as its disk needs. Any thread may call
  // this.
  std::size_t append(std::string_view bytes) const noexcept;

private:
  // How a write is kept from waiting.
  enum class Access {
    own,    // this process alone has it, and it is non-blocking
    shared, // other processes have it too: poll() says whether a write would wait
    socket  // they may have it too, but each send() can say that it must not wait
  };

  // A descriptor and the way to write to it.
  struct Opened {
    int descriptor = -1; // -1: it could not be opened, and errno says why
    Access access = Access::own;
  };

  static Opened open_own_descriptor(int number);
  static Opened open_file(const std::string& name);

  const std::string name_;
  const std::optional<int> own_descriptor_; // the one that the name stands for
  int descriptor_ = -1;
  std::atomic<unsigned> generation_ = 0;
  Access access_ = Access::own;
};

} // namespace server
