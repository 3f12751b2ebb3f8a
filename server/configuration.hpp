// The options in use, the access log that they name, and what changes in them while the server
// runs: --config FILE is read again on SIGHUP.
#pragma once

#include "server/log_file.hpp"
#include "server/options.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace server {

// The flags that differ between two sets of options.
struct Differences {
  std::vector<std::string_view> running; // these can change while the server runs
  std::vector<std::string_view> restart; // these need a restart
};
Differences differences(const Options& now, const Options& then);

// Gives `now` those values of `then` that can change while the server runs.
void take_over(Options& now, const Options& then);

// The names of all flags that either of them knows, for a test that no flag is forgotten.
std::vector<std::string_view> compared_flags();

// Belongs to the main thread; other threads get copies of the options. All of them write to the
// access log.
class Configuration {
public:
  // Opens the access log. Throws std::runtime_error with one line when that fails.
  Configuration(const Options& options, std::vector<BackendName> backends);

  const Options& options() const noexcept { return options_; }

  // Null: there is none.
  const std::shared_ptr<LogFile>& access_log() const noexcept { return access_log_; }

  // Whether there is a file that can be read again.
  bool has_file() const noexcept { return !options_.config.empty(); }

  // Reads the command line and the file as at the start, and takes over what can change while the
  // server runs. Logs one line for that, and one for what needs a restart. When anything is wrong
  // with the file, nothing changes, and one line says so. An access log that stays the same is
  // reopened in any case. Returns whether the file was good.
  bool reload(int signal);

  // Opens the access log again, because its file was renamed or removed. Logs one line.
  void reopen_access_log(int signal);

private:
  bool read_again(int signal);

  Options options_;
  const std::vector<BackendName> backends_;
  std::shared_ptr<LogFile> access_log_;
  unsigned reloads_ = 0; // so that no two lines of the log are equal, which would hide the second
};

} // namespace server
