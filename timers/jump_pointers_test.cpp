#include "timers/jump_pointers.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace timers {
namespace {

constexpr std::size_t kDistance = JumpPointers::kDistance;

std::uintptr_t address(const JumpNode& node) { return reinterpret_cast<std::uintptr_t>(&node); }

// Nodes that are filed in a list, one after another.
struct Filed {
  explicit Filed(std::size_t n) : nodes(n) {
    for (JumpNode& node : nodes) {
      file(node);
    }
  }

  void file(JumpNode& node) {
    jumps.on_filed(node);
    list.push_back(node);
  }

  void take_out(JumpNode& node) {
    jumps.on_leaving(node);
    unlink(node);
  }

  JumpPointers jumps;
  NodeList list;
  std::vector<JumpNode> nodes;
};

TEST(JumpPointers, NameTheNodeThatWasFiledSomePlacesLater) {
  const Filed filed(100);
  for (std::size_t i = 0; i + kDistance < filed.nodes.size(); ++i) {
    EXPECT_EQ(filed.nodes[i].jump, address(filed.nodes[i + kDistance])) << i;
  }
  EXPECT_EQ(filed.jumps.check(filed.list), "");
}

TEST(JumpPointers, ANodeThatHasLeftIsNotWrittenTo) {
  Filed filed(1);
  JumpNode& gone = filed.nodes[0];
  filed.take_out(gone);
  const std::uintptr_t left_with = gone.jump;
  std::vector<JumpNode> others(2 * kDistance);
  for (JumpNode& node : others) {
    filed.file(node);
  }
  EXPECT_EQ(gone.jump, left_with);
}

TEST(JumpPointers, ANodeThatIsFiledAgainNamesWhatFollowsItNow) {
  Filed filed(1);
  JumpNode& again = filed.nodes[0];
  filed.take_out(again);
  filed.file(again);
  std::vector<JumpNode> others(kDistance);
  for (JumpNode& node : others) {
    EXPECT_EQ(filed.jumps.check(filed.list), "");
    filed.file(node);
  }
  EXPECT_EQ(again.jump, address(others.back()));
}

TEST(JumpPointers, TheCheckSeesANodeThatLeftUnnoticed) {
  Filed filed(1);
  filed.jumps.on_leaving(filed.nodes[0]); // but stays in the list
  EXPECT_NE(filed.jumps.check(filed.list), "");
}

TEST(JumpPointers, PopTheNodesOfAListInOrder) {
  Filed filed(3);
  for (JumpNode& node : filed.nodes) {
    EXPECT_EQ(filed.jumps.pop_front(filed.list), &node);
  }
  EXPECT_EQ(filed.jumps.pop_front(filed.list), nullptr);
}

TEST(JumpPointers, ANodeThatWasPoppedIsNotWrittenTo) {
  Filed filed(1);
  JumpNode* gone = filed.jumps.pop_front(filed.list);
  const std::uintptr_t left_with = gone->jump;
  std::vector<JumpNode> others(2 * kDistance);
  for (JumpNode& node : others) {
    filed.file(node);
  }
  EXPECT_EQ(gone->jump, left_with);
}

} // namespace
} // namespace timers
