// What a timer does when it expires: a callable of at most one pointer, kept without allocation.
#pragma once

#include "timers/frames.hpp"

#include <cstddef>
#include <memory>
#include <type_traits>

namespace timers {

// An Action holds a callable such as `[this] { close(); }`. It takes 16 bytes on a 64-bit machine,
// may be copied, and never allocates. A callable that captures more than one pointer does not
// compile.
class Action {
public:
  template <class Callable>
  requires(!std::is_same_v<std::remove_cvref_t<Callable>, Action>) Action(Callable callable)
  noexcept : invoke_([](void* storage) { (*static_cast<Callable*>(storage))(); }) {
    static_assert(sizeof(Callable) <= sizeof(void*) && alignof(Callable) <= alignof(void*) &&
                      std::is_trivially_copyable_v<Callable>,
                  "an action captures at most one pointer, e.g. this");
    std::construct_at(reinterpret_cast<Callable*>(storage_), callable);
  }

  // Calls what it holds, and passes on what that throws.
  void operator()() { invoke_(storage_); }

private:
  void (*invoke_)(void*);
  alignas(void*) std::byte storage_[sizeof(void*)];
};

// Every action runs through this function. A profile that keeps frames (frames.hpp) thus separates
// the work of the timer structure, which calls it, from the work of the action, which it calls. It
// takes a copy, because the action may destroy the timer that holds it.
TIMERS_FRAME inline void run_action(Action action) { action(); }

} // namespace timers
