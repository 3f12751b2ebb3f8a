// The life of connections that send much: each timer moves a little, and often.
//
// After the benchmark of Juho Snellman's timer wheel (github.com/jsnell/ratas, test_benchmark.cc),
// whose times and kinds of timers these are; written anew, as a steady state.
#pragma once

#include "bench/paced_timers.hpp"

#include <deque>

namespace bench {

// Pairs of a client and a server, with five timers each, at a tick of 20 us:
//
//   idle      60 s after the last message that this end sent or received. It moves with each
//   message,
//             and never runs
//   pace      the server sends a message of its response every 10 ticks. It always runs
//   deadline  the response must begin, and then end, in time. It moves once and is disarmed
//   request   the client asks again about a second after the response. It always runs
//   close     180 s after its start the pair stops asking, and 10 s later another one takes its
//   place
//
// A response has 128 messages, and most pairs wait for their next request. One pass is 2500 ticks,
// which is longer than a response takes.
template <class Timers> class PacedPairs : public Workload {
public:
  // n timers, in n / 10 pairs.
  PacedPairs(std::size_t n, timers::Rearm rearm) : timers_(rearm, n) {
    const std::size_t count = std::max<std::size_t>(1, n / 10);
    const auto places = permutation(count, 11);
    std::mt19937_64 random(12);
    for (std::size_t id = 0; id < count; ++id) {
      courses_.push_back({.next = 2 + 2 * (places[id] * (kInterval / 2) / count),
                          .close = 1 + 2 * (random() % (kLife / 2)),
                          .interval = kInterval + 2 * (random() % 50)});
      pairs_.emplace_back(*this, id, courses_.back());
    }
    pass(); // the first one begins while nobody sends
  }

  Timed pass() override {
    const Tick end = now_ + kPass;
    foresee(end);
    operations_ = 0;
    const auto elapsed = stopwatch([&] {
      while (now_ < end) {
        now_ = std::clamp(timers_.next_deadline(), now_ + 1, end);
        timers_.run_until(now_);
      }
    });
    wrong_ |= log_ != expected_;
    return {elapsed, operations_};
  }

  // Moves time on to just before the next timer is due.
  std::string_view check() override {
    Tick next = kNever;
    for (const Course& course : courses_) {
      next = std::min(next, course.tick());
    }
    now_ = next - 1;
    timers_.run_until(now_);
    wrong_ |= log_ != expected_;
    return wrong_ ? "timers ran that should not have, or not at their tick" : timers_.check();
  }

private:
  static constexpr Ticks kSecond = 50'000;
  static constexpr Ticks kIdle = 60 * kSecond;
  static constexpr Ticks kLife = 180 * kSecond;
  static constexpr Ticks kDrain = 10 * kSecond + 1; // pairs close at odd ticks; all else is even
  static constexpr Ticks kInterval = kSecond;
  static constexpr Ticks kPace = 10;
  static constexpr int kMessages = 128; // of a response
  static constexpr Ticks kPass = 2500;

  enum class Event { request, pace, close, replace };

  // What a pair will do, as plain arithmetic gives it.
  struct Course {
    Tick next;  // its next request or message
    Tick close; // when it closes, or is replaced
    Ticks interval;
    int left = 0;       // messages of the response that are still to come
    Tick rest = kNever; // when the pace timer runs for the last time
    bool closing = false;

    Tick tick() const noexcept { return std::min({next, rest, close}); }

    // Takes the next step, which is due at tick().
    Event step() noexcept {
      const Tick now = tick();
      if (now == close) {
        return step_close(now);
      }
      if (now == rest) {
        rest = kNever;
        return Event::pace;
      }
      const Event event = left == 0 ? Event::request : Event::pace;
      if (event == Event::request && closing) {
        next = kNever;
        return event;
      }
      left = event == Event::request ? kMessages - 1 : left - 1;
      next = now + (left == 0 ? interval : kPace);
      rest = left == 0 ? now + kPace : kNever;
      return event;
    }

    Event step_close(Tick now) noexcept {
      closing = !closing;
      close = now + (closing ? kDrain : kLife + 1);
      next = closing ? next : now;
      return closing ? Event::close : Event::replace;
    }
  };

  struct Pair;

  struct alignas(64) End {
    End(PacedPairs& all, Pair& pair, bool client)
        : idle(all.timers_, [&all] { all.wrong_ = true; }),
          pace(all.timers_, [&pair] { pair.on_pace(); }),
          deadline(all.timers_, [&all] { all.wrong_ = true; }),
          request(all.timers_, [&pair] { pair.on_request(); }),
          close(all.timers_, client ? timers::Action([&pair] { pair.on_close(); })
                                    : timers::Action([&pair] { pair.on_server_close(); })) {}
    typename Timers::Timer idle;
    typename Timers::Timer pace;     // never armed by a client
    typename Timers::Timer deadline; // this and `request` are never armed by a server
    typename Timers::Timer request;
    typename Timers::Timer close;
  };

  struct Pair {
    Pair(PacedPairs& of, std::size_t number, const Course& course)
        : all(of), id(number), interval(course.interval), client(of, *this, true),
          server(of, *this, false) {
      start(course.close);
      set(client.request, course.next);
    }

    void set(typename Timers::Timer& timer, Ticks timeout) {
      timer.rearm(timeout, all.now_);
      ++all.operations_;
    }

    void start(Ticks life) {
      server_closing = false;
      for (End* const end : {&client, &server}) {
        set(end->idle, kIdle);
        set(end->close, life);
      }
    }

    void on_request() {
      all.note(id, Event::request);
      if (!closing) {
        set(client.deadline, 4 * kMessages * kPace);
        left = kMessages;
        send();
      }
    }

    void on_pace() {
      all.note(id, Event::pace);
      if (left != 0) {
        send();
      }
    }

    // Sends a message, which arrives at once.
    void send() {
      set(server.idle, kIdle);
      set(server.pace, kPace);
      set(client.idle, kIdle);
      if (left == kMessages) {
        set(client.deadline, 2 * kMessages * kPace);
      }
      if (--left == 0) {
        client.deadline.disarm();
        ++all.operations_;
        set(client.request, interval);
      }
    }

    void on_close() {
      closing = !closing;
      all.note(id, closing ? Event::close : Event::replace);
      if (closing) {
        set(client.close, kDrain);
      } else {
        start(kLife + 1);
        on_request();
      }
    }

    // At the tick at which another pair takes its place, this may come before on_close() or not at
    // all.
    void on_server_close() {
      if (!std::exchange(server_closing, true)) {
        set(server.close, kDrain);
      }
    }

    PacedPairs& all;
    const std::size_t id;
    const Ticks interval;
    int left = 0; // messages of the response that are still to come
    bool closing = false;
    bool server_closing = false;
    End client;
    End server;
  };

  void note(std::size_t id, Event event) noexcept {
    log_.add(now_, 4 * id + static_cast<std::size_t>(event));
    ++operations_;
  }

  // Adds what will run until `end` to expected_, and tells it to the floor.
  void foresee(Tick end) {
    std::vector<FloorTimers::Due> due;
    for (std::size_t id = 0; id < courses_.size(); ++id) {
      Course& course = courses_[id];
      for (Event last = Event::pace; course.tick() <= end;) {
        const Tick tick = course.tick();
        const Event event = course.step();
        expected_.add(tick, 4 * id + static_cast<std::size_t>(event));
        if constexpr (std::is_same_v<Timers, FloorTimers>) {
          foresee(event, last, pairs_[id], tick, due);
        }
        last = event;
      }
    }
    if constexpr (std::is_same_v<Timers, FloorTimers>) {
      std::stable_sort(due.begin(), due.end(),
                       [](const auto& a, const auto& b) { return a.tick < b.tick; });
      timers_.foresee(std::move(due));
    }
  }

  static void foresee(Event event, Event last, Pair& pair, Tick tick,
                      std::vector<FloorTimers::Due>& due) {
    if (event == Event::close) {
      due.push_back({tick, &pair.server.close});
    }
    if (event == Event::close || event == Event::replace) {
      due.push_back({tick, &pair.client.close});
    } else if (event == Event::pace) {
      due.push_back({tick, &pair.server.pace});
    } else if (last != Event::replace) { // the first request of a pair needs no timer
      due.push_back({tick, &pair.client.request});
    }
  }

  Tick now_ = 0;
  std::uint64_t operations_ = 0;
  bool wrong_ = false;
  RunLog log_;
  RunLog expected_;
  Timers timers_;
  std::vector<Course> courses_; // by id, as are the pairs
  std::deque<Pair> pairs_;      // a deque never moves its elements
};

} // namespace bench
