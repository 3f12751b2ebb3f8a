// The one list of backends. The server, the tests of the contract, the benchmarks and the list of
// installed headers all come from it. To add a backend, include its header here and add its name to
// AllBackends; it is then served, tested, measured and installed.
#pragma once

#include "timers/binary_heap.hpp"
#include "timers/duration_lists.hpp"
#include "timers/hashed_wheel.hpp"
#include "timers/hashed_wheel_sorted.hpp"
#include "timers/hierarchical_wheel.hpp"
#include "timers/min_array.hpp"
#include "timers/ordered_list.hpp"
#include "timers/ordered_list_rear.hpp"
#include "timers/quad_heap.hpp"
#include "timers/quick_heap.hpp"
#include "timers/rb_tree.hpp"
#include "timers/simple_wheel.hpp"
#include "timers/unordered_list.hpp"

namespace timers {

template <TimerBackend... Backends> struct BackendList {};

// In the order of Varghese & Lauck's schemes, then the two that came after.
using AllBackends = BackendList<UnorderedList, OrderedList, OrderedListRear, BinaryHeap, QuadHeap,
                                QuickHeap, RbTree, SimpleWheel, HashedWheelSorted, HashedWheel,
                                HierarchicalWheel, DurationLists, MinArray>;

// The backend of a server that is told nothing else.
using DefaultBackend = HierarchicalWheel;

// Calls function.template operator()<Backend>() for each backend of the list, in order.
template <class Function, class... Backends>
constexpr void for_each_backend(BackendList<Backends...> /*list*/, Function&& function) {
  (function.template operator()<Backends>(), ...);
}

} // namespace timers
