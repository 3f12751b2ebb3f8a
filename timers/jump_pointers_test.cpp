#include "timers/jump_pointers.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace timers {
namespace {

std::uintptr_t address(const JumpNode& node) { return reinterpret_cast<std::uintptr_t>(&node); }

TEST(JumpPointers, NameTheNodeThatWasFiledSomePlacesLater) {
  std::vector<JumpNode> nodes(100);
  JumpPointers jumps;
  for (JumpNode& node : nodes) {
    jumps.on_filed(node);
  }
  const std::size_t named = nodes.size() - JumpPointers::kDistance;
  for (std::size_t i = 0; i < named; ++i) {
    EXPECT_EQ(nodes[i].jump, address(nodes[i + JumpPointers::kDistance])) << i;
  }
  for (std::size_t i = named; i < nodes.size(); ++i) {
    EXPECT_LT(nodes[i].jump, JumpPointers::kDistance) << i;
    EXPECT_TRUE(jumps.knows_place(nodes[i])) << i;
  }
}

TEST(JumpPointers, ANodeThatHasLeftIsNotWrittenTo) {
  std::vector<JumpNode> others(JumpPointers::kDistance);
  JumpPointers jumps;
  auto gone = std::make_unique<JumpNode>();
  jumps.on_filed(*gone);
  jumps.on_leaving(*gone);
  gone.reset(); // a write to it is what the address sanitizer is for
  for (JumpNode& node : others) {
    jumps.on_filed(node);
  }
  EXPECT_TRUE(jumps.knows_place(others.back()));
}

TEST(JumpPointers, ANodeThatIsFiledAgainNamesWhatFollowsItNow) {
  std::vector<JumpNode> nodes(JumpPointers::kDistance + 1);
  JumpPointers jumps;
  jumps.on_filed(nodes[0]);
  jumps.on_leaving(nodes[0]);
  jumps.on_filed(nodes[0]);
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    EXPECT_TRUE(jumps.knows_place(nodes[0])) << i;
    jumps.on_filed(nodes[i]);
  }
  EXPECT_EQ(nodes[0].jump, address(nodes.back()));
}

TEST(JumpPointers, PopTheNodesOfAListInOrder) {
  std::vector<JumpNode> nodes(3);
  JumpPointers jumps;
  NodeList list;
  for (JumpNode& node : nodes) {
    jumps.on_filed(node);
    list.push_back(node);
  }
  for (JumpNode& node : nodes) {
    EXPECT_EQ(jumps.pop_front(list), &node);
    EXPECT_FALSE(jumps.knows_place(node));
  }
  EXPECT_EQ(jumps.pop_front(list), nullptr);
}

} // namespace
} // namespace timers
