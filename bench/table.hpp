// The results as a table for each operation: a row a backend, a column a size, each figure with how
// many times the floor it is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <map>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

namespace bench {

class Table {
public:
  // Of several runs the longest count, and of these the fastest: what else happens on a machine can
  // only slow a loop down.
  void add(const std::string& operation, const std::string& backend, std::size_t n,
           std::uint64_t passes, double ns) {
    Cell& cell = this->cell(operation, backend, n);
    if (passes > cell.passes || (passes == cell.passes && ns < cell.ns)) {
      cell = {passes, ns};
    }
  }

  void skip(const std::string& operation, const std::string& backend, std::size_t n) {
    cell(operation, backend, n);
  }

  // Rows and tables come in the order in which they were first mentioned here.
  void mention(const std::string& operation, const std::string& backend) {
    note(operations_, operation);
    note(backends_, backend);
  }

  void print(std::ostream& out) const {
    if (operations_.empty()) {
      return;
    }
    out << "\nns per operation, and how many times the floor (bench/README.md says what is what)\n";
    for (const std::string& operation : operations_) {
      print(out, operation);
    }
  }

private:
  struct Cell {
    std::uint64_t passes = 0; // 0: skipped
    double ns = 0;
  };

  static void note(std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  }

  Cell& cell(const std::string& operation, const std::string& backend, std::size_t n) {
    mention(operation, backend);
    sizes_.insert(n);
    return cells_[{operation, backend, n}];
  }

  void print(std::ostream& out, const std::string& operation) const {
    constexpr int kNameWidth = 24;
    constexpr int kCellWidth = 18;
    out << '\n' << std::left << std::setw(kNameWidth) << operation << std::right;
    for (const std::size_t n : sizes_) {
      out << std::setw(kCellWidth) << n;
    }
    out << '\n';
    for (const std::string& backend : backends_) {
      out << "  " << std::left << std::setw(kNameWidth - 2) << backend << std::right;
      for (const std::size_t n : sizes_) {
        out << std::setw(kCellWidth) << text(operation, backend, n);
      }
      out << '\n';
    }
  }

  // A row named floor gives the ratios.
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
  std::vector<std::string> backends_;
  std::set<std::size_t> sizes_;
  std::map<std::tuple<std::string, std::string, std::size_t>, Cell> cells_;
};

} // namespace bench
