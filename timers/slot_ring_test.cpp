// The map of occupied slots, at sizes that need its second step; the rings themselves are tested as
// the backends that they are part of.
#include "timers/slot_ring.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <set>

namespace timers {
namespace {

std::size_t first_of(const std::set<std::size_t>& model, std::size_t from) {
  const auto at = model.lower_bound(from);
  return at == model.end() ? SlotMap::kNone : *at;
}

TEST(SlotMap, EqualsASetOfNumbers) {
  for (const std::size_t slots : {1U, 64U, 128U, 4096U, 8192U, 20'000U}) {
    std::mt19937_64 random(slots);
    SlotMap map(slots);
    std::set<std::size_t> model;
    for (int step = 0; step < 20'000; ++step) {
      // Few at a time, close together and far apart, so that words and their groups come and go.
      const std::size_t slot = random() % 4 == 0 ? random() % slots : random() % 130 % slots;
      if (model.size() > 6 || random() % 2 == 0) {
        const std::size_t gone = first_of(model, slot);
        if (gone != SlotMap::kNone) {
          map.clear(gone);
          model.erase(gone);
        }
      } else {
        map.set(slot);
        model.insert(slot);
      }
      const std::size_t from = random() % (slots + 1);
      ASSERT_EQ(map.first_from(from, slots - 1), first_of(model, from))
          << slots << " slots, step " << step;
      ASSERT_EQ(map.test(slot), model.contains(slot));
    }
  }
}

} // namespace
} // namespace timers
