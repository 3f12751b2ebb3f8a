// rearm_all() is a loop of rearm(), for every backend of the list in both ways to re-arm
// (CONTRACT.md, line 52).
#include "timers/rearm_all.hpp"

#include "timers/asio/driver.hpp"
#include "timers/hierarchical_wheel.hpp"
#include "timers/testing/testing.hpp"

#include <boost/asio/io_context.hpp>

#include <deque>
#include <new>
#include <span>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

class RearmAll : public ::testing::TestWithParam<ServiceKind> {
protected:
  // So many timers, every second of them armed, and pointers to them.
  void make(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      timers.emplace_back(facility, [this] { ++ran; });
      pointers.push_back(&timers.back());
      if (i % 2 == 0) {
        timers.back().arm(5, facility.now());
      }
    }
  }

  const ServiceKind& kind = GetParam();
  Rig rig{kind};
  AnyFacility facility{rig.service()};
  std::size_t ran = 0;
  std::deque<AnyFacility::Timer> timers;
  std::vector<AnyFacility::Timer*> pointers;
};
INSTANTIATE_TEST_SUITE_P(, RearmAll, ::testing::ValuesIn(service_kinds()), service_id);

TEST_P(RearmAll, MovesAndArmsEachTimerWhateverTheirNumber) {
  for (const std::size_t count : {0U, 1U, 7U, 8U, 9U, 65U}) {
    timers.clear();
    pointers.clear();
    ran = 0;
    make(count);
    const Tick start = facility.now().floor;
    const std::uint64_t rearmed = rig.service().counters().rearmed;
    rearm_all(pointers, Ticks{20}, facility.now());
    EXPECT_EQ(rig.service().counters().rearmed - rearmed, (count + 1) / 2);
    rig.move_to_tick(start + 19);
    rig.pass();
    EXPECT_EQ(ran, 0U);
    rig.move_to_tick(start + 20);
    rig.pass();
    EXPECT_EQ(ran, count);
  }
}

TEST_P(RearmAll, MovesInOrder) {
  Rig one(kind);
  AnyFacility its_facility(one.service());
  std::vector<int> order;
  std::deque<AnyFacility::Timer> noting;
  struct Note {
    std::vector<int>& order;
    int number;
  };
  std::deque<Note> notes;
  std::vector<AnyFacility::Timer*> backwards;
  for (int i = 0; i < 20; ++i) {
    notes.push_back({order, i});
    noting.emplace_back(its_facility,
                        [note = &notes.back()] { note->order.push_back(note->number); });
    backwards.insert(backwards.begin(), &noting.back());
  }
  rearm_all<3>(std::span<AnyFacility::Timer* const>(backwards), Ticks{5}, its_facility.now());
  one.move_to_tick(5);
  one.pass();
  ASSERT_EQ(order.size(), 20U);
  if (kind.info.peer_order == PeerOrder::moved && !kind.lazy()) {
    EXPECT_TRUE(std::is_sorted(order.rbegin(), order.rend()));
  }
}

TEST(RearmAllOfADriver, TakesItsTimers) {
  boost::asio::io_context io{1};
  using Driver = AsioDriver<HierarchicalWheel>;
  Driver driver{io.get_executor()};
  int ran = 0;
  std::array<Driver::Timer, 2> both{{{driver, [&ran] { ++ran; }}, {driver, [&ran] { ++ran; }}}};
  Driver::Timer* const pointers[] = {&both[0], &both[1]};
  rearm_all(pointers, driver.timeout(1ms), driver.now());
  io.run();
  EXPECT_EQ(ran, 2);
}

} // namespace
} // namespace timers::test
