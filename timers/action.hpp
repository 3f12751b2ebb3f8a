// What a timer does when it runs: a callable of at most one pointer, kept without allocation.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace timers {

// Holds e.g. `[this] { close(); }`. 16 bytes.
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

  void operator()() { invoke_(storage_); }

private:
  void (*invoke_)(void*);
  alignas(void*) std::byte storage_[sizeof(void*)];
};

// The trampoline through which every action runs, so that a profile tells the timer structure's own
// work (its callers) from the work of the action (its callees). Takes a copy: the action may
// destroy the timer that holds it.
[[gnu::noinline]] inline void run_action(Action action) { action(); }

} // namespace timers
