// The whole server is compiled once per backend, here, and picked by name once, at start-up.
#include "server/backends.hpp"

#include "server/worker_impl.hpp"
#include "timers/asio/baseline.hpp"
#include "timers/asio/driver.hpp"
#include "timers/backends.hpp"
#include "timers/none.hpp"

#include <stdexcept>
#include <utility>

namespace server {
namespace {

using MakeWorker = std::unique_ptr<Worker> (*)(WorkerConfig);

struct Entry {
  const timers::BackendInfo& info;
  MakeWorker make;
};

std::vector<Entry> entries() {
  std::vector<Entry> all;
  timers::for_each_backend(timers::AllBackends{}, [&all]<class Backend>() {
    all.push_back({Backend::kInfo, make_worker<timers::AsioDriver<Backend>>});
  });
  all.push_back({timers::AsioBaseline::kInfo, make_worker<timers::AsioBaseline>});
  all.push_back({timers::None::kInfo, make_worker<timers::None>});
  return all;
}

} // namespace

std::vector<BackendName> backend_names() {
  std::vector<BackendName> names;
  for (const Entry& entry : entries()) {
    names.push_back({.name = std::string(entry.info.name),
                     .scheme = std::string(entry.info.scheme),
                     .summary = std::string(entry.info.summary),
                     .is_default = entry.info.name == timers::DefaultBackend::kInfo.name});
  }
  return names;
}

std::unique_ptr<Worker> make_worker(std::string_view backend, WorkerConfig config) {
  if (!config.options.timer_trace.empty()) {
    return make_worker<TracedTimers>(std::move(config));
  }
  for (const Entry& entry : entries()) {
    if (entry.info.name == backend) {
      return entry.make(std::move(config));
    }
  }
  throw std::invalid_argument("no such timer backend");
}

} // namespace server
