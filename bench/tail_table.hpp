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
  // Of several runs, the one with the most passes counts, and of these the one with the fastest
  // pass: other activity on the machine can only slow a loop down.
  void add(const Benchmark& benchmark, std::size_t n, std::uint64_t passes, double pass_ns,
           const std::vector<Figure>& figures) {
    Row& row = this->row(benchmark, n);
    if (passes > row.passes || (passes == row.passes && pass_ns < row.pass_ns)) {
      row.passes = passes;
      row.pass_ns = pass_ns;
      row.figures = figures;
    }
  }

  void skip(const Benchmark& benchmark, std::size_t n) { row(benchmark, n); }

  // In the order in which operations were first added; their sizes ascend.
  void print(std::ostream& out) const {
    for (const Part& part : parts_) {
      for (const auto& [n, rows] : part.rows_by_size) {
        out << '\n'
            << part.operation << ", " << n << " timers: a sample is " << part.sample << '\n';
        print_row(out, "", [](const Column& column) { return std::string(column.heading); });
        for (const Row& row : rows) {
          print_row(out, "  " + row.subject,
                    [&](const Column& column) { return cell(row, column); });
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
    std::string subject;
    std::uint64_t passes = 0; // 0 when it was skipped
    double pass_ns = 0;
    std::vector<Figure> figures;
  };

  struct Part {
    std::string operation;
    std::string sample;
    std::map<std::size_t, std::vector<Row>> rows_by_size;
  };

  Row& row(const Benchmark& benchmark, std::size_t n) {
    auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& each) {
      return each.operation == benchmark.operation;
    });
    if (part == parts_.end()) {
      part = parts_.insert(parts_.end(), {benchmark.operation, benchmark.sample, {}});
    }
    auto& rows = part->rows_by_size[n];
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& each) {
      return each.subject == benchmark.subject.name;
    });
    return found != rows.end() ? *found
                               : *rows.insert(rows.end(), {benchmark.subject.name, 0, 0, {}});
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
