// Whether functions marked TIMERS_FRAME keep frames of their own in a profile.
//
// A flame graph can show what a timer structure costs only when arm, rearm, disarm, advance,
// pop_expired and run_action (action.hpp) stay functions under their own names. Programs that need
// this define TIMERS_KEEP_FRAMES. All others leave the choice to the compiler, which may inline
// everything.
//
// The macro must be the same in every source file of a program, because the marked functions are
// inline. So take it from the CMake target idlewheel::frames, and link that to every target that
// uses the library. With g++ the target also adds -fno-ipa-icf: GCC folds functions of equal bodies
// into one, and two backends would then share one name.
#pragma once

#if !defined(TIMERS_KEEP_FRAMES)
#define TIMERS_FRAME
#elif defined(__clang__)
#define TIMERS_FRAME [[gnu::noinline]]
#else
#define TIMERS_FRAME [[gnu::noinline, gnu::noclone]]
#endif
