#include "timers/action.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>

namespace timers::test {
namespace {

TEST(Action, CallsWhatItHoldsEachTime) {
  int calls = 0;
  Action action = [&calls] { ++calls; };
  action();
  action();
  run_action(action);
  EXPECT_EQ(calls, 3);
}

TEST(Action, MayHoldNothing) {
  static int calls;
  calls = 0;
  run_action([] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(Action, ACopyCallsTheSame) {
  int first = 0;
  int second = 0;
  Action action = [&first] { ++first; };
  Action copy = action;
  action = [&second] { ++second; };
  copy();
  action();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

// A timer may be destroyed by its own action, and the action with it.
TEST(Action, RunningOutlivesItsHolder) {
  struct Owner {
    std::unique_ptr<Action> action;
    int calls = 0;
  } owner;
  owner.action = std::make_unique<Action>([&owner] {
    owner.action.reset();
    ++owner.calls;
  });
  run_action(*owner.action);
  EXPECT_EQ(owner.calls, 1);
  EXPECT_EQ(owner.action, nullptr);
}

TEST(Action, MayThrow) {
  EXPECT_THROW(run_action([] { throw std::runtime_error("an action"); }), std::runtime_error);
}

TEST(Action, IsTwoPointers) { EXPECT_EQ(sizeof(Action), 2 * sizeof(void*)); }

} // namespace
} // namespace timers::test
