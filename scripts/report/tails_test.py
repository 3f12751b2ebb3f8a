"""The curves of timer-bench's tails, from made-up figures."""

import json
import re
import tempfile
import unittest
from pathlib import Path

from report import tails
from results.errors import Unreadable


def entry(name: str, worst: float = 5000.0, passes: int = 3, time: float = 10.0,
          **more: object) -> dict:
    return {"name": name, "run_type": "iteration", "iterations": passes, "real_time": time,
            "label": "a sample is 16 operations", "p50_ns": 80.0, "p90_ns": 100.0, "p99_ns": 400.0,
            "p99.9_ns": 900.0, "worst_ns": worst, "machine_p99.9_ns": 30.0,
            "machine_worst_ns": 4000.0} | more


WHEEL = "hierarchical-wheel/tail-arm/10000/iterations:3/manual_time"


class Tails(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.source = Path(scratch.name) / "timers.json"

    def read(self, *entries: dict) -> list[tails.Tail]:
        self.source.write_text(json.dumps({"benchmarks": list(entries)}))
        return tails.read(self.source)

    def page(self, *entries: dict) -> str:
        self.read(*entries)
        return tails.page(self.source, self.source.with_suffix(".html")).read_text()

    def test_names_and_figures_are_read(self) -> None:
        (tail,) = self.read(entry(WHEEL), {"name": "floor/arm/400", "iterations": 1})
        self.assertEqual((tail.subject, tail.operation, tail.timers, tail.label),
                         ("hierarchical-wheel", "tail-arm", 10000, "a sample is 16 operations"))
        self.assertEqual(list(tail.points.values()), [80, 100, 400, 900, 5000])
        self.assertEqual(tail.machine, {"p99.9_ns": 30, "worst_ns": 4000})

    def test_what_is_not_a_number_is_left_out(self) -> None:
        (tail,) = self.read(entry(WHEEL, **{"p99.9_ns": float("nan")}))  # as timer-bench prints it
        self.assertEqual(list(tail.points), ["p50_ns", "p90_ns", "p99_ns", "worst_ns"])

    def test_of_repetitions_the_fastest_of_the_longest_counts(self) -> None:
        found = self.read(entry(WHEEL, 1, time=10), entry(WHEEL, 2, time=9),
                          entry(WHEEL, 3, time=9.5), entry(WHEEL, 4, passes=1, time=1),
                          entry(WHEEL, 5, time=1, run_type="aggregate"),
                          entry(WHEEL, 6, time=1, error_occurred=True))
        self.assertEqual([tail.points["worst_ns"] for tail in found], [2])

    def test_a_panel_for_each_operation_and_size(self) -> None:
        text = self.page(entry(WHEEL), entry("libev/tail-arm/10000"), entry("libev/tail-arm/400"),
                         entry("libev/tail-pass-all/400", 2e10))
        self.assertEqual(re.findall(r'aria-label="([^"]+)"', text),
                         ["tail-arm, 400 timers", "tail-arm, 10\u202f000 timers",
                          "tail-pass-all, 400 timers"])
        self.assertIn("libev, worst: 20 s", text)
        self.assertIn("A sample is 16 operations.", text)

    def test_higher_on_the_page_is_slower(self) -> None:
        text = self.page(entry(WHEEL))
        heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', text)]
        self.assertEqual(len(heights), 5)
        self.assertEqual(heights, sorted(heights, reverse=True))

    def test_one_sample_is_enough_for_a_point(self) -> None:
        nothing = dict.fromkeys(("p50_ns", "p90_ns", "p99_ns", "p99.9_ns", "machine_p99.9_ns"),
                                float("nan"))
        self.assertEqual(self.page(entry(WHEEL, **nothing)).count("<circle"), 1)

    def test_other_files_are_refused_in_a_line(self) -> None:
        for text in ("no json", "{}", "[]", '{"benchmarks": [{"name": "floor/arm/400"}]}',
                     '{"benchmarks": [{"name": "x", "worst_ns": 1}]}'):
            with self.subTest(text=text):
                self.source.write_text(text)
                self.assertRaises(Unreadable, tails.read, self.source)
        self.assertRaises(Unreadable, tails.read, self.source.with_name("absent"))


if __name__ == "__main__":
    unittest.main()
