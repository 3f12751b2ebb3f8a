// The linked list that the list and wheel backends file their nodes in: intrusive, circular, doubly
// linked (Boost.Intrusive), so a node leaves whichever list holds it in O(1) without naming it.
#pragma once

#include "timers/backend.hpp"

#include <boost/intrusive/list.hpp>

#include <iterator>

namespace timers {

// 24 bytes on a 64-bit machine: two links and the deadline.
struct ListNode
    : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> {
  Tick deadline = 0;
};

using NodeList = boost::intrusive::list<ListNode, boost::intrusive::constant_time_size<false>>;

// Takes the node out of the list that holds it. Requires that one does.
inline void unlink(ListNode& node) noexcept {
  NodeList::node_algorithms::unlink(NodeList::value_traits::to_node_ptr(node));
}

// Takes the first node out of `list`; null when the list is empty.
inline ListNode* pop_front(NodeList& list) noexcept {
  if (list.empty()) {
    return nullptr;
  }
  ListNode& node = list.front();
  list.pop_front();
  return &node;
}

// Files the node behind all that are not due later, looking for the place from the end. O(1 + nodes
// due later).
inline void insert_from_rear(NodeList& list, ListNode& node) noexcept {
  auto at = list.end();
  while (at != list.begin() && std::prev(at)->deadline > node.deadline) {
    visit();
    --at;
  }
  list.insert(at, node);
}

// Whether deadlines never descend along the list.
inline bool is_sorted(const NodeList& list) {
  Tick last = 0;
  for (const ListNode& node : list) {
    if (node.deadline < last) {
      return false;
    }
    last = node.deadline;
  }
  return true;
}

} // namespace timers
