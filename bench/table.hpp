// Prints the results: a table for each operation, with a row for each backend or peer and a column
// for each number of timers. Each figure comes with its ratio to the floor. Below the rows stands
// the best backend beside the best peer. The last table gives the memory that a timer takes.
#pragma once

#include "bench/catalogue.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

namespace bench {

class Table {
public:
  // Of several runs, those with the most passes count, and of these the fastest: other activity on
  // the machine can only slow a loop down.
  void add(const std::string& operation, const Subject& subject, std::size_t n,
           std::uint64_t passes, double ns) {
    Cell& cell = this->cell(operation, subject, n);
    if (passes > cell.passes || (passes == cell.passes && ns < cell.ns)) {
      cell = {passes, ns};
    }
  }

  void skip(const std::string& operation, const Subject& subject, std::size_t n) {
    cell(operation, subject, n);
  }

  // Reserves a row and a table. Both are printed in the order of their first mention, except that
  // floors come first and peers last.
  void mention(const std::string& operation, const Subject& subject) {
    if (std::find(operations_.begin(), operations_.end(), operation) == operations_.end()) {
      operations_.push_back(operation);
    }
    const auto same = [&](const Subject& other) { return other.name == subject.name; };
    if (std::none_of(subjects_.begin(), subjects_.end(), same)) {
      const auto by_side = [](const Subject& a, const Subject& b) { return a.side < b.side; };
      subjects_.insert(std::upper_bound(subjects_.begin(), subjects_.end(), subject, by_side),
                       subject);
    }
  }

  void print(std::ostream& out) const {
    if (operations_.empty()) {
      return;
    }
    out << "\nns per operation, and how many times the floor (bench/README.md says what is what)\n";
    for (const std::string& operation : operations_) {
      print(out, operation);
    }
    print_bytes(out);
  }

private:
  static constexpr int kNameWidth = 24;
  static constexpr int kCellWidth = 20;

  struct Cell {
    std::uint64_t passes = 0; // 0 when the cell was skipped
    double ns = 0;
  };

  struct Best {
    std::string name;
    double ns = 0;
  };

  Cell& cell(const std::string& operation, const Subject& subject, std::size_t n) {
    mention(operation, subject);
    sizes_.insert(n);
    return cells_[{operation, subject.name, n}];
  }

  void print(std::ostream& out, const std::string& operation) const {
    print_row(out, operation, [](std::size_t n) { return std::to_string(n); });
    for (const Subject& subject : subjects_) {
      const auto text_of = [&](std::size_t n) { return text(operation, subject.name, n); };
      if (std::any_of(sizes_.begin(), sizes_.end(), [&](auto n) { return text_of(n) != "-"; })) {
        print_row(out, "  " + subject.name, text_of);
      }
    }
    print_comparison(out, operation);
  }

  void print_comparison(std::ostream& out, const std::string& operation) const {
    const auto both = [&](std::size_t n) {
      return best(operation, Side::ours, n) && best(operation, Side::peer, n);
    };
    if (std::none_of(sizes_.begin(), sizes_.end(), both)) {
      return;
    }
    for (const Side side : {Side::ours, Side::peer}) {
      print_row(out, side == Side::ours ? "  = best backend" : "  = best peer", [&](auto n) {
        const auto found = best(operation, side, n);
        return found ? found->name : "-";
      });
    }
    print_row(out, "  = backend / peer", [&](std::size_t n) {
      return both(n) ? three_digits(best(operation, Side::ours, n)->ns /
                                    best(operation, Side::peer, n)->ns) +
                           "x"
                     : "-";
    });
  }

  template <class Text>
  void print_row(std::ostream& out, const std::string& name, Text text_of) const {
    out << (name.starts_with(' ') ? "" : "\n") << std::left << std::setw(kNameWidth) << name
        << std::right;
    for (const std::size_t n : sizes_) {
      out << std::setw(kCellWidth) << text_of(n);
    }
    out << '\n';
  }

  void print_bytes(std::ostream& out) const {
    out << "\nbytes per timer\n";
    for (const Subject& subject : subjects_) {
      if (subject.side != Side::floor) {
        out << "  " << std::left << std::setw(kNameWidth - 2) << subject.name << std::right
            << std::setw(kCellWidth) << subject.bytes_per_timer() << '\n';
      }
    }
  }

  std::optional<Best> best(const std::string& operation, Side side, std::size_t n) const {
    std::optional<Best> best;
    for (const Subject& subject : subjects_) {
      const auto found = cells_.find({operation, subject.name, n});
      if (subject.side == side && found != cells_.end() && found->second.passes != 0 &&
          (!best || found->second.ns < best->ns)) {
        best = Best{subject.name, found->second.ns};
      }
    }
    return best;
  }

  // Ratios are to the row named "floor".
  std::string text(const std::string& operation, const std::string& backend, std::size_t n) const {
    const auto found = cells_.find({operation, backend, n});
    if (found == cells_.end()) {
      return "-";
    }
    if (found->second.passes == 0) {
      return "skipped";
    }
    const auto floor = cells_.find({operation, "floor", n});
    const bool has_ratio = backend != "floor" && floor != cells_.end() && floor->second.ns > 0;
    const double ns = found->second.ns;
    return three_digits(ns) + (has_ratio ? " (" + three_digits(ns / floor->second.ns) + "x)" : "");
  }

  static std::string three_digits(double value) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(value < 9.995 ? 2 : value < 99.95 ? 1 : 0) << value;
    return text.str();
  }

  std::vector<std::string> operations_;
  std::vector<Subject> subjects_;
  std::set<std::size_t> sizes_;
  std::map<std::tuple<std::string, std::string, std::size_t>, Cell> cells_;
};

} // namespace bench
