// Jump pointers: while a linked list is walked, its nodes are fetched from memory some places
// ahead. A walk over a long list whose nodes lie anywhere then costs the throughput of the memory,
// and not its latency once per node. The wheels hand out and move long lists. Timers that are armed
// one after another mostly come due one after another, so each node names the one that was filed
// kDistance places later.
//
// The idea is from Luk & Mowry, "Compiler-Based Prefetching for Recursive Data Structures" (ASPLOS
// 1996), who speak of history pointers, and from Roth & Sohi (ISCA 1999), who gave them this name.
//
// A jump pointer is only a hint. It may be wrong, and the timer that it names may be gone, so it is
// prefetched but never followed.
#pragma once

#include "timers/node_list.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace timers {

// 32 bytes on a 64-bit machine.
struct JumpNode : ListNode {
  // While the node is in a list: the address of a node that was filed later. For the latest nodes
  // that were filed: the place in JumpPointers instead.
  std::uintptr_t jump = 0;
};

// The latest nodes that were filed in a structure. Each operation is O(1).
class JumpPointers {
public:
  // More than the number of reads that can be on their way from memory at once. With half of it, a
  // million timers that expire at once take half as long again. Twice of it gains nothing.
  static constexpr std::size_t kDistance = 32;

  JumpPointers() noexcept { latest_.fill(&nowhere_); }
  JumpPointers(const JumpPointers&) = delete; // holds addresses of its own
  JumpPointers& operator=(const JumpPointers&) = delete;

  // To be called when the node is put in a list.
  void on_filed(JumpNode& node) noexcept {
    const std::size_t place = next_;
    next_ = (next_ + 1) % kDistance;
    *latest_[place] = reinterpret_cast<std::uintptr_t>(&node);
    latest_[place] = &node.jump;
    node.jump = place;
  }

  // To be called when the node leaves its list.
  void on_leaving(JumpNode& node) noexcept {
    if (node.jump < kDistance) [[unlikely]] {
      latest_[node.jump] = &nowhere_;
    }
  }

  static void prefetch(const JumpNode& node) noexcept {
    __builtin_prefetch(reinterpret_cast<const void*>(node.jump), 1);
  }

  // Takes the first node out of a list of JumpNodes; null when the list is empty.
  JumpNode* pop_front(NodeList& list) noexcept {
    auto* node = static_cast<JumpNode*>(timers::pop_front(list));
    if (node != nullptr) {
      prefetch(*node);
      on_leaving(*node);
    }
    return node;
  }

  // For check(): says what is wrong with a list of JumpNodes; empty when nothing is.
  std::string_view check(const NodeList& list) const {
    for (const ListNode& node : list) {
      const std::uintptr_t jump = static_cast<const JumpNode&>(node).jump;
      if (jump < kDistance && latest_[jump] != &static_cast<const JumpNode&>(node).jump) {
        return "a timer is wrong about its place among the latest";
      }
    }
    return "";
  }

private:
  std::array<std::uintptr_t*, kDistance> latest_; // the addresses of their `jump`
  std::size_t next_ = 0;
  std::uintptr_t nowhere_ = 0; // written to instead of nodes that have left
};

} // namespace timers
