// The file that lines of a log are appended to, whatever kind it is: a regular file, a named pipe,
// a terminal, or a descriptor that the process was started with, such as a pipe or a socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace server {

// Throws std::runtime_error, with one line that names the file, when the name stands for a
// descriptor that the process was not started with, or that is not open for writing.
void require_inherited(const std::string& name);

class LogFile {
public:
  // Opens a file for appending, and creates it if there is none. "-" is standard output.
  // "/dev/stderr", "/dev/fd/N" and the like, and links to them, are the descriptors that they name;
  // the process must have been started with these. A named pipe needs no reader. Throws
  // std::runtime_error with one line that names the file.
  explicit LogFile(std::string name);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Whether the name may stand for another file later. A descriptor of the process stays the same.
  bool can_reopen() const noexcept { return !own_descriptor_; }

  // Requires can_reopen(). Opens the name again, because the file was renamed or removed. What
  // other threads append meanwhile goes whole to one of the two files. Returns what went wrong; the
  // file that is open then stays.
  std::optional<std::string> reopen();

  // Appends whole lines without waiting for a reader, and leaves `lines` empty. Returns how many
  // lines were dropped since the last call, because there was no room or the file had failed.
  // Lines of other threads never get between the parts of a line; in a regular file, they do not
  // get between `lines` either. A write to a regular file takes as long as its disk needs. Any
  // thread may call this.
  std::uint64_t append(std::string& lines) noexcept;

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
  bool replace_by(int fresh) noexcept;
  void finish_line() noexcept;
  std::size_t write_front(std::string_view lines) const noexcept;
  std::size_t write_once(std::string_view bytes) const noexcept;
  std::string_view one_write(std::string_view lines, bool regular) const noexcept;

  const std::string name_;
  const std::optional<int> own_descriptor_; // the one that the name stands for
  Access access_ = Access::own;
  std::mutex mutex_; // guards what stands below, and every write
  int descriptor_ = -1;
  std::string unfinished_; // the end of a line of which the file has the beginning
  std::uint64_t dropped_ = 0;
};

} // namespace server
