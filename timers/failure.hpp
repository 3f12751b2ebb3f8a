// How the library fails, in programs with exceptions and without.
//
// Compiled with -fno-exceptions, what would be thrown ends the program instead, after a line on
// standard error. This includes a lack of memory, about which the standard library decides.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace timers {

// Throws `exception`, which is a std::exception.
template <class Exception> [[noreturn]] void fail(const Exception& exception) {
#if defined(__cpp_exceptions)
  throw exception;
#else
  std::fprintf(stderr, "timers: %s\n", exception.what());
  std::abort();
#endif
}

// Calls `undo` at the end of its scope, unless dismiss() was called: so when an exception passes.
template <class Undo> class OnFailure {
public:
  explicit OnFailure(Undo undo) noexcept : undo_(std::move(undo)) {}
  ~OnFailure() {
    if (!dismissed_) {
      undo_();
    }
  }
  OnFailure(const OnFailure&) = delete;
  OnFailure& operator=(const OnFailure&) = delete;

  void dismiss() noexcept { dismissed_ = true; }

private:
  Undo undo_;
  bool dismissed_ = false;
};
template <class Undo> OnFailure(Undo) -> OnFailure<Undo>;

} // namespace timers
