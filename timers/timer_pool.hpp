// TimerPool: timers that have ids in place of owners, as those of an event loop or of another
// language have. Use it when what a timer is about may be gone before the timer is, or when an id
// is all that the other side can keep. A timer that is a member of its owner needs no pool.
//
//   timers::TimerPool<Timers, std::function<void()>> pool{timers};
//   const auto id = pool.arm(timers.timeout(30s), timers.now(), [=] { expire(session); });
//   ...
//   pool.disarm(id); // false, and nothing happens, if the timer has run or was disarmed
//
// An id is live from arm() until its timer was disarmed, or has run and was not armed again by its
// own action. After that it is stale. All operations on a stale id do nothing, and say so. The pool
// reuses the slot of a stale id, but never the id itself: the id holds the slot's generation, which
// counts up at each use. A slot whose generations are used up, after 2^32 - 1 uses, is not used
// again; until the pool is destroyed it costs its memory, about 130 bytes for each 4 billion
// timers.
//
//   arm, rearm, disarm, armed   O(1), besides what the facility's timer costs
//   memory                      a slot for each timer that was live at one time; slots stay until
//                               the pool is destroyed, so arm() allocates nothing once it has grown
#pragma once

#include "timers/action.hpp"
#include "timers/failure.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace timers {

// Means something only to the pool that gave it out. `none` is no timer's. It may be kept as a
// number of 64 bits.
enum class TimerId : std::uint64_t { none = 0 };

// `Facility` is a TimerService, an AsioDriver, or any other whose Timer is made of it and an
// Action. The pool is used on the facility's thread.
//
// `Callable` is the type of the actions, each of which a slot holds by value. It is called with the
// id of its timer if it can be, else with nothing. It is a parameter because an action here has no
// owner to point to: Action, which is one pointer, suits a pool whose timers are about something
// that outlives them. A struct of your own, such as a server and the number of a session, costs no
// allocation either. std::function takes any callable, and may allocate.
//
// `kGenerationBits` says how often a slot is used. Only tests have a reason to lower it.
template <class Facility, class Callable = Action, unsigned kGenerationBits = 32>
requires std::constructible_from<typename Facility::Timer, Facility&, Action>
class TimerPool {
public:
  using Timeout = typename Facility::Timeout;
  using Instant = typename Facility::Instant;

  static_assert(std::is_nothrow_move_constructible_v<Callable>);
  static_assert(std::invocable<Callable&, TimerId> || std::invocable<Callable&>);
  static_assert(kGenerationBits >= 1 && kGenerationBits <= 32);

  explicit TimerPool(Facility& facility) noexcept : facility_(facility) {}

  // Disarms all timers and destroys their actions. An action may destroy its pool. Destructors of
  // actions may use the pool meanwhile, except to arm a timer.
  ~TimerPool() {
    if (destroyed_ != nullptr) {
      *destroyed_ = true;
    }
    for (Slot& slot : slots_) {
      disarm(slot.id());
    }
  }

  TimerPool(const TimerPool&) = delete;
  TimerPool& operator=(const TimerPool&) = delete;

  // Arms a timer to run `action` once, `timeout` after `now`. Returns its id. Throws std::bad_alloc
  // or std::length_error when the pool cannot grow, and what the arm() of the facility's timer
  // throws; then nothing has changed.
  TimerId arm(Timeout timeout, Instant now, Callable action) {
    if (first_free_ == kNoSlot) {
      grow();
    }
    Slot& slot = slots_[first_free_];
    OnFailure undo([&slot] { slot.timer.disarm(); });
    slot.timer.arm(timeout, now);
    undo.dismiss();
    slot.action.emplace(std::move(action));
    first_free_ = std::exchange(slot.next_free, kInUse);
    ++size_;
    return slot.id();
  }

  // Moves the timer to `timeout` after `now`. In its own action, arms it again: the id stays live,
  // and the timer keeps its action. Returns false, having done nothing, when the id is stale.
  // Throws as the rearm() of the facility's timer does.
  bool rearm(TimerId id, Timeout timeout, Instant now) {
    Slot* const slot = find(id);
    if (slot != nullptr) {
      slot->timer.rearm(timeout, now);
    }
    return slot != nullptr;
  }

  // Makes sure that the timer does not run, and the id stale. Destroys the action; if that is
  // running, when it has returned. Returns false, having done nothing, when the id is stale.
  bool disarm(TimerId id) noexcept {
    Slot* const slot = find(id);
    if (slot == nullptr) {
      return false;
    }
    slot->timer.disarm();
    // Destroyed last, when the pool is whole, because the destructor may use the pool.
    [[maybe_unused]] const std::optional<Callable> action = slot->take_action();
    release(*slot);
    return true;
  }

  // False for a stale id, and in the timer's own action unless that has armed it again.
  bool armed(TimerId id) const noexcept {
    const Slot* const slot = find(id);
    return slot != nullptr && slot->timer.armed();
  }

  // How many ids are live.
  std::size_t size() const noexcept { return size_; }

  // Grows so that arm() allocates nothing of the pool's while no more than so many ids are live,
  // and no slot's generations are used up. Throws std::bad_alloc and std::length_error.
  void reserve(std::size_t ids) {
    while (slots_.size() < ids) {
      grow();
    }
  }

private:
  using Index = std::uint32_t;

  // In place of the index of the next free slot.
  static constexpr Index kInUse = static_cast<Index>(-1);
  static constexpr Index kUsedUp = static_cast<Index>(-2);
  static constexpr Index kNoSlot = static_cast<Index>(-3);

  static constexpr std::uint32_t kLastGeneration = static_cast<std::uint32_t>(-1) >>
                                                   (32 - kGenerationBits);

  struct Slot {
    Slot(TimerPool& owner, Index place)
        : timer(owner.facility_, [this] { pool.run(*this); }), pool(owner), index(place) {}

    TimerId id() const noexcept { return TimerId((std::uint64_t{generation} << 32) | index); }

    // None while the action runs.
    std::optional<Callable> take_action() noexcept {
      std::optional<Callable> taken;
      if (action) {
        taken.emplace(*std::move(action));
        action.reset();
      }
      return taken;
    }

    typename Facility::Timer timer;
    TimerPool& pool;
    const Index index;
    std::uint32_t generation = 1; // of the id that is live, or of the next one
    Index next_free = kNoSlot;
    std::optional<Callable> action;
  };

  // Has the action outside its slot while it runs, because it may have the slot used again, and may
  // destroy the pool.
  struct Run {
    Run(TimerPool& running, Slot& in) noexcept
        : pool(running), slot(in), id(in.id()), action(*in.take_action()) {
      pool.destroyed_ = &destroyed;
    }
    ~Run() {
      if (destroyed) {
        return;
      }
      pool.destroyed_ = nullptr;
      if (slot.id() != id) {
        return; // disarmed
      }
      if (slot.timer.armed()) {
        slot.action.emplace(std::move(action));
      } else {
        pool.release(slot);
      }
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    TimerPool& pool;
    Slot& slot;
    const TimerId id;
    Callable action;
    bool destroyed = false;
  };

  void run(Slot& slot) {
    Run run(*this, slot);
    if constexpr (std::invocable<Callable&, TimerId>) {
      run.action(run.id);
    } else {
      run.action();
    }
  }

  // The slot of a live id; null for any other.
  const Slot* find(TimerId id) const noexcept {
    const auto index = static_cast<Index>(static_cast<std::uint64_t>(id));
    if (index >= slots_.size()) {
      return nullptr;
    }
    const Slot& slot = slots_[index];
    return slot.next_free == kInUse && slot.id() == id ? &slot : nullptr;
  }

  Slot* find(TimerId id) noexcept { return const_cast<Slot*>(std::as_const(*this).find(id)); }

  void grow() {
    if (slots_.size() == kNoSlot) {
      fail(std::length_error("a pool has fewer than 2^32 timers"));
    }
    const auto index = static_cast<Index>(slots_.size());
    slots_.emplace_back(*this, index);
    make_free(slots_.back());
  }

  void make_free(Slot& slot) noexcept { slot.next_free = std::exchange(first_free_, slot.index); }

  // Makes the slot's id stale.
  void release(Slot& slot) noexcept {
    --size_;
    if (slot.generation == kLastGeneration) {
      slot.generation = 0;
      slot.next_free = kUsedUp;
    } else {
      ++slot.generation;
      make_free(slot);
    }
  }

  Facility& facility_;
  std::deque<Slot> slots_; // it never moves them
  Index first_free_ = kNoSlot;
  std::size_t size_ = 0;
  bool* destroyed_ = nullptr; // while an action runs: where to note that the pool is gone
};

} // namespace timers
