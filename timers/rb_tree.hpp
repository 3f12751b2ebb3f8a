// Scheme 3 of Varghese & Lauck, trees: a balanced search tree, here the red-black tree of
// Boost.Intrusive. nginx and the high-resolution timers of the Linux kernel use such trees.
//
//   arm           O(log n)
//   rearm         O(log n): taken out and inserted again, unless it keeps its place in the order
//   disarm        O(1) amortised: the tree is rebalanced around the place, not searched
//   advance       O(1)
//   pop_expired   O(1) amortised
//   wake-ups      exactly one per distinct deadline: the tree remembers its leftmost timer
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32
//
// When to choose it: you re-arm eagerly, and want the exact next deadline, arm order among equal
// deadlines, and bounds that hold in the worst case. A heap is faster: it does less work per level
// and keeps its keys together, while each level of a tree is probably a cache miss.
#pragma once

#include "timers/backend.hpp"

#include <boost/intrusive/set.hpp>

#include <algorithm>
#include <iterator>

namespace timers {

class RbTree {
  // The colour is a bit of the parent's address.
  using Hook =
      boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>,
                                      boost::intrusive::optimize_size<true>>;

public:
  struct Node : Hook {
    Tick deadline = 0;
  };

  static constexpr BackendInfo kInfo{
      .name = "rb-tree",
      .scheme = "3",
      .summary = "red-black tree, as in nginx: O(log n) to re-arm, FIFO among equals",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::logarithmic,
                .rearm = Cost::logarithmic,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 32,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    tree_.insert(node); // behind its equals
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    const auto at = tree_.iterator_to(node);
    if (keeps_its_place(at, deadline)) {
      node.deadline = deadline;
      return;
    }
    tree_.erase(at);
    node.deadline = deadline;
    tree_.insert(node);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { tree_.erase(tree_.iterator_to(node)); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = std::max(now_, now); }

  TIMERS_FRAME Node* pop_expired() noexcept {
    if (tree_.empty() || tree_.begin()->deadline > now_) {
      return nullptr;
    }
    Node& first = *tree_.begin();
    tree_.erase(tree_.begin());
    return &first;
  }

  Tick next_deadline() const noexcept { return tree_.empty() ? kNever : tree_.begin()->deadline; }

  std::string_view check() const {
    tree_.check(); // Boost.Intrusive's own: links, colours, order; asserts
    const bool sorted = std::is_sorted(tree_.begin(), tree_.end(), Sooner());
    return sorted ? "" : "the tree is out of order";
  }

private:
  struct Sooner {
    bool operator()(const Node& a, const Node& b) const noexcept {
      visit();
      return a.deadline < b.deadline;
    }
  };
  using Tree = boost::intrusive::multiset<Node, boost::intrusive::compare<Sooner>,
                                          boost::intrusive::constant_time_size<false>>;

  // Whether a timer with this new deadline stays where it is, behind its equals.
  bool keeps_its_place(Tree::iterator at, Tick deadline) noexcept {
    if (deadline < at->deadline) {
      return at == tree_.begin() || std::prev(at)->deadline <= deadline;
    }
    return std::next(at) == tree_.end() || deadline < std::next(at)->deadline;
  }

  Tree tree_;
  Tick now_ = 0;
};

} // namespace timers
