#include "timers/testing/testing.hpp"

#include "timers/backends.hpp"

namespace timers::test {

const std::vector<BackendKind>& backend_kinds() {
  static const std::vector<BackendKind> kinds = [] {
    std::vector<BackendKind> all;
    for_each_backend(AllBackends(),
                     [&]<class Backend>() { all.push_back(backend_kind<Backend>()); });
    return all;
  }();
  return kinds;
}

const std::vector<ServiceKind>& service_kinds() {
  static const std::vector<ServiceKind> kinds = [] {
    std::vector<ServiceKind> all;
    for_each_backend(AllBackends(), [&]<class Backend>() {
      all.push_back(service_kind<Backend>(Rearm::lazy));
      all.push_back(service_kind<Backend>(Rearm::eager));
    });
    return all;
  }();
  return kinds;
}

} // namespace timers::test
