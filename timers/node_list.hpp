// The linked list in which the list and wheel backends keep their nodes. It is intrusive, circular
// and doubly linked (Boost.Intrusive), so a node leaves the list that holds it in O(1), and the
// caller need not know which list that is.
#pragma once

#include "timers/backend.hpp"

#include <boost/intrusive/list.hpp>

#include <iterator>
#include <string_view>

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

// Takes the first node out of a sorted list; null when it is not due at `now`.
inline ListNode* pop_due(NodeList& list, Tick now) noexcept {
  return list.empty() || list.front().deadline > now ? nullptr : pop_front(list);
}

inline void append(NodeList& list, ListNode& node) noexcept { list.push_back(node); }

// Inserts the node behind all that are not due later. Looks for the place from the end: O(1 +
// number of nodes due later).
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

// Sorts by deadline. Timers of one deadline keep their order. O(n) when the list is sorted already,
// as it mostly is; else O(n log n).
inline void sort_by_deadline(NodeList& list) {
  if (!is_sorted(list)) {
    list.sort([](const ListNode& a, const ListNode& b) { return a.deadline < b.deadline; });
  }
}

// For check(): says what is wrong with a list of due timers; empty when nothing is.
inline std::string_view check_due(const NodeList& due, Tick now) {
  for (const ListNode& node : due) {
    if (node.deadline > now) {
      return "a timer that is not due is among the due";
    }
  }
  return "";
}

} // namespace timers
