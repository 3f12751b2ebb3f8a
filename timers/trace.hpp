// Writes what the timers of a service were asked to do into a file, and reads it back. Each
// operation takes a record of 16 bytes.
//
//   timers::TraceFile file("timers.trace", 1ms);
//   timers::TimerService<Backend, Clock, timers::ToFile> service({}, {}, timers::ToFile(file));
//
// The file begins with 8 bytes of magic and the length of a tick in ns (8 bytes). Records follow,
// of two 64-bit numbers each. All numbers are little-endian. The first number of a record holds the
// operation (lowest 3 bits), whether the clock was past the edge of its tick (1 bit) and the tick
// (60 bits). The second holds the number of the timer (lower half), and how many ticks after the
// tick its deadline is (upper half; the largest value means that or more).
#pragma once

#include "timers/duration.hpp"
#include "timers/failure.hpp"
#include "timers/trace_sink.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

namespace timers {

struct TraceRecord {
  TraceOperation operation = TraceOperation::arm;
  std::uint32_t timer = 0; // numbered in the order of their first operation
  Tick tick = 0;           // the last clock reading before the operation, rounded down
  Tick deadline = 0;       // the timer's new deadline; for disarm and expire the one it had
  bool past_edge = false;  // whether the clock was past the edge of `tick`
  bool operator==(const TraceRecord&) const = default;

  // The tick from which a timeout counts.
  Tick ceil() const noexcept { return tick + (past_edge ? 1 : 0); }
};

namespace detail {
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
inline constexpr std::array<char, 8> kTraceMagic = {'t', 'i', 'm', 'e', 'r', 's', '2', '\n'};
using TraceWords = std::array<std::uint64_t, 2>;
static_assert(std::endian::native == std::endian::little, "the file's byte order is the machine's");

inline File checked(File file, const std::filesystem::path& path) {
  if (file == nullptr) {
    fail(std::system_error(errno, std::generic_category(), path.string()));
  }
  return file;
}

inline File open_trace(const std::filesystem::path& path) {
  return checked(File(std::fopen(path.c_str(), "rb"), std::fclose), path);
}

// Never waits, neither here nor in a write: a pipe may have no reader, or a slow one.
inline File create_trace(const std::filesystem::path& path) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK;
  const int descriptor = ::open(path.c_str(), kFlags, 0666);
  return checked(File(descriptor < 0 ? nullptr : ::fdopen(descriptor, "wb"), std::fclose), path);
}

inline constexpr std::uint64_t kFurthest = std::numeric_limits<std::uint32_t>::max();
} // namespace detail

// Writes a trace, from one thread. A write that fails, as when the disk or a pipe is full, ends the
// trace but not the program.
class TraceFile {
public:
  // Throws std::system_error when the file cannot be made, or is a pipe without a reader.
  TraceFile(const std::filesystem::path& path, Nanoseconds tick)
      : file_(detail::create_trace(path)) {
    const auto tick_ns = static_cast<std::uint64_t>(tick.count());
    put(detail::kTraceMagic);
    put(tick_ns);
  }

  // Costs a copy of 16 bytes, and a system call when stdio's buffer is full.
  void write(const TraceRecord& record) noexcept {
    const Ticks ahead = record.deadline > record.tick ? record.deadline - record.tick : 0;
    put(detail::TraceWords{record.tick << 4 | (record.past_edge ? 8U : 0U) |
                               static_cast<std::uint64_t>(record.operation),
                           std::min<Ticks>(ahead, detail::kFurthest) << 32 | record.timer});
  }

  // Hands everything to the operating system. Returns whether all of the trace has got there.
  bool flush() noexcept { return std::fflush(file_.get()) == 0 && good_; }

  std::uint32_t next_timer() noexcept { return timers_++; }

private:
  template <class Bytes> void put(const Bytes& bytes) noexcept {
    good_ = good_ && std::fwrite(&bytes, sizeof bytes, 1, file_.get()) == 1;
  }

  detail::File file_;
  std::uint32_t timers_ = 0;
  bool good_ = true;
};

// The sink that writes to a TraceFile, which must outlive the service.
class ToFile {
public:
  struct TimerId {
    static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
    std::uint32_t number = kNone;
  };

  explicit ToFile(TraceFile& file) noexcept : file_(&file) {}

  void at(Tick floor, Tick ceil) noexcept {
    tick_ = floor;
    past_edge_ = ceil != floor;
  }

  void record(TraceOperation operation, TimerId& timer, Tick deadline) noexcept {
    if (timer.number == TimerId::kNone) {
      timer.number = file_->next_timer();
    }
    file_->write({operation, timer.number, tick_, deadline, past_edge_});
  }

private:
  TraceFile* file_;
  Tick tick_ = 0;
  bool past_edge_ = false;
};

// Reads a trace, one record after another.
class TraceReader {
public:
  // Throws std::system_error when the file cannot be read, std::runtime_error when it is no trace.
  explicit TraceReader(const std::filesystem::path& path) : file_(detail::open_trace(path)) {
    std::array<char, 8> magic{};
    std::uint64_t tick_ns = 0;
    if (!get(magic) || magic != detail::kTraceMagic || !get(tick_ns) || tick_ns == 0) {
      fail(std::runtime_error(path.string() + " is not a timer trace"));
    }
    tick_ = std::chrono::nanoseconds(static_cast<std::int64_t>(tick_ns));
  }

  std::chrono::nanoseconds tick() const noexcept { return tick_; }

  // The next record; none at the end. A last record that was cut short counts as the end. Throws
  // std::runtime_error for an unknown operation.
  std::optional<TraceRecord> next() {
    detail::TraceWords words{};
    if (!get(words)) {
      return std::nullopt;
    }
    const Tick tick = words[0] >> 4;
    if ((words[0] & 7) > static_cast<std::uint64_t>(TraceOperation::expire)) {
      fail(std::runtime_error("the trace has an unknown operation in it"));
    }
    return TraceRecord{.operation = static_cast<TraceOperation>(words[0] & 7),
                       .timer = static_cast<std::uint32_t>(words[1]),
                       .tick = tick,
                       .deadline = tick + (words[1] >> 32),
                       .past_edge = (words[0] & 8) != 0};
  }

private:
  template <class Bytes> bool get(Bytes& bytes) {
    return std::fread(&bytes, sizeof bytes, 1, file_.get()) == 1;
  }

  detail::File file_;
  std::chrono::nanoseconds tick_{};
};

} // namespace timers
