// Jump pointers: while a linked list is walked, its nodes are fetched from memory some places
// ahead, so that a long list whose nodes lie anywhere costs the memory's throughput and not, once
// per node, its latency. The wheels hand out and move long lists; timers that are armed one after
// another mostly come due one after another, so each node points at the one that was filed
// kDistance later.
//
// Luk & Mowry, "Compiler-Based Prefetching for Recursive Data Structures" (ASPLOS 1996), call them
// history pointers; jump pointers: Roth & Sohi (ISCA 1999).
//
// A jump pointer is a hint: it may be wrong, and the timer that it names may be gone. It is never
// followed, only prefetched.
#pragma once

#include "timers/node_list.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace timers {

// 32 bytes on a 64-bit machine.
struct JumpNode : ListNode {
  // While in a list: the address of a node that was filed later; in one of the latest that were
  // filed, its place in JumpPointers.
  std::uintptr_t jump = 0;
};

// The latest nodes that were filed in a structure. Each operation O(1).
class JumpPointers {
public:
  // More than can be on their way from memory at once. Half of it costs half as much again when a
  // million timers run at once, twice of it gains nothing.
  static constexpr std::size_t kDistance = 32;

  JumpPointers() noexcept { latest_.fill(&nowhere_); }
  JumpPointers(const JumpPointers&) = delete; // holds addresses of its own
  JumpPointers& operator=(const JumpPointers&) = delete;

  // The node is being put in a list.
  void on_filed(JumpNode& node) noexcept {
    const std::size_t place = next_;
    next_ = (next_ + 1) % kDistance;
    *latest_[place] = reinterpret_cast<std::uintptr_t>(&node);
    latest_[place] = &node.jump;
    node.jump = place;
  }

  // The node leaves its list.
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

  // For check(): what is wrong with a list of JumpNodes; empty when nothing is.
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
  std::array<std::uintptr_t*, kDistance> latest_; // their jumps
  std::size_t next_ = 0;
  std::uintptr_t nowhere_ = 0; // of those that have left
};

} // namespace timers
