// Prints the results of the benchmarks of tails: a table for each operation and number of timers,
// with a row for each floor, backend or peer and a column for each figure.
#pragma once

#include "bench/catalogue.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace bench {

class TailTable {
public:
  // Reserves a table and a row in it. Both are printed in the order of their first mention, before
  // which nothing may be added.
  void mention(const Benchmark& benchmark) {
    auto part = find(benchmark.operation);
    if (part == parts_.end()) {
      part = parts_.insert(part, {benchmark.operation, benchmark.sample, {}, {}});
    }
    auto& subjects = part->subjects;
    if (std::find(subjects.begin(), subjects.end(), benchmark.subject.name) == subjects.end()) {
      subjects.push_back(benchmark.subject.name);
    }
  }

  // Of several runs, the one with the most passes counts, and of these the one with the fastest
  // pass: other activity on the machine can only slow a loop down.
  void add(const Benchmark& benchmark, std::size_t n, std::uint64_t passes, double pass_ns,
           std::vector<Figure> figures) {
    Row& row = this->row(benchmark, n);
    if (passes > row.passes || (passes == row.passes && pass_ns < row.pass_ns)) {
      row = {passes, pass_ns, std::move(figures)};
    }
  }

  void skip(const Benchmark& benchmark, std::size_t n) { row(benchmark, n); }

  void print(std::ostream& out) const {
    for (const Part& part : parts_) {
      for (const auto& [n, rows] : part.sizes) {
        out << '\n'
            << part.operation << ", " << n << " timers: a sample is " << part.sample << '\n';
        print_row(out, "", [](const Column& column) { return std::string(column.heading); });
        for (const std::string& subject : part.subjects) {
          if (const auto found = rows.find(subject); found != rows.end()) {
            print_row(out, "  " + subject,
                      [&](const Column& column) { return cell(found->second, column); });
          }
        }
      }
    }
  }

  // Three digits and a unit, or "-" for what is not a number.
  static std::string duration(double ns) {
    static constexpr std::array<const char*, 3> kUnits{" ns", " us", " ms"};
    if (std::isnan(ns)) {
      return "-";
    }
    std::size_t unit = 0;
    for (; unit + 1 < kUnits.size() && ns >= 999.5; ++unit) {
      ns /= 1000;
    }
    const int digits = unit == 0 || ns >= 99.95 ? 0 : ns >= 9.995 ? 1 : 2;
    std::ostringstream text;
    text << std::fixed << std::setprecision(digits) << ns << kUnits[unit];
    return text.str();
  }

private:
  static constexpr int kNameWidth = 22;
  static constexpr int kCellWidth = 11;

  struct Column {
    std::string_view figure; // empty for the time of a whole pass
    std::string_view heading;
  };
  static constexpr std::array<Column, 10> kColumns{{
      {"samples", "samples"},
      {"p50_ns", "p50"},
      {"p90_ns", "p90"},
      {"p99_ns", "p99"},
      {"p99.9_ns", "p99.9"},
      {"worst_ns", "worst"},
      {"machine_p99.9_ns", "mach. 99.9"},
      {"machine_worst_ns", "mach. worst"},
      {"empty_ns", "empty"},
      {"", "whole"},
  }};

  struct Row {
    std::uint64_t passes = 0; // 0 when it was skipped
    double pass_ns = 0;
    std::vector<Figure> figures;
  };

  struct Part {
    std::string operation;
    std::string sample;
    std::vector<std::string> subjects; // in the order of the rows
    std::map<std::size_t, std::map<std::string, Row>> sizes;
  };

  std::vector<Part>::iterator find(const std::string& operation) {
    return std::find_if(parts_.begin(), parts_.end(),
                        [&](const Part& part) { return part.operation == operation; });
  }

  Row& row(const Benchmark& benchmark, std::size_t n) {
    return find(benchmark.operation)->sizes[n][benchmark.subject.name];
  }

  template <class Text>
  static void print_row(std::ostream& out, const std::string& name, Text text_of) {
    out << std::left << std::setw(kNameWidth) << name << std::right;
    for (const Column& column : kColumns) {
      out << ' ' << std::setw(kCellWidth) << text_of(column);
    }
    out << '\n';
  }

  static std::string cell(const Row& row, const Column& column) {
    if (row.passes == 0) {
      return column.figure == "samples" ? "skipped" : "-";
    }
    if (column.figure.empty()) {
      return duration(row.pass_ns);
    }
    for (const Figure& figure : row.figures) {
      if (figure.name == column.figure) {
        return column.figure == "samples" ? std::to_string(std::llround(figure.value))
                                          : duration(figure.value);
      }
    }
    return "-";
  }

  std::vector<Part> parts_;
};

} // namespace bench
