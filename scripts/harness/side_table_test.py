import unittest
from unittest import mock

from harness import side_table, syscalls
from harness.contenders import EDITED, FLOOR, RING, STOCK, WITHOUT
from harness.side_by_side import Results
from harness.side_by_side_test import sample


class Table(unittest.TestCase):
    SAMPLES = [sample("ours", 400, 6.0), sample("floor", 400, 5.0), sample("floor", 400, 4.0),
               sample("floor", 400, 30.0), sample("ours", 400, 7.0), sample("ours", 400, 5.5),
               sample("floor", 5000, 8.0), sample("ours", 5000, 8.0)]

    def lines(self, found: Results) -> list[str]:
        return side_table.table(["floor", "ours"], [400, 5000], found,
                                  weighed=bool(found.memory)).splitlines()

    def test_a_server_that_failed_keeps_its_row_with_what_it_had_and_the_reason(self) -> None:
        kept = [s for s in self.SAMPLES if (s["name"], s["connections"]) != ("floor", 5000)]
        lines = self.lines(Results(kept, failures={"floor": "5000 connections: a|b"}))
        self.assertEqual(lines[0].split(" | ")[-1], "failed |")
        self.assertEqual(lines[2], "| floor | 5.00 (1.00x) | - | 1.25 | - | "
                                   "5000 connections: a\\|b |")
        self.assertEqual(lines[3], "| ours | 6.00 (1.20x) | 8.00 | 1.50 | 2.00 |  |")

    def test_medians_and_ratios_to_the_first_name(self) -> None:
        lines = self.lines(Results(self.SAMPLES))
        self.assertEqual(lines[2], "| floor | 5.00 (1.00x) | 8.00 (1.00x) | 1.25 | 2.00 |")
        self.assertEqual(lines[3], "| ours | 6.00 (1.20x) | 8.00 (1.00x) | 1.50 | 2.00 |")

    def test_memory_where_it_was_weighed(self) -> None:
        memory = [{"name": name, "bytes": 588.4, "idle_cpu": 0.0} for name in ("floor", "ours")]
        lines = self.lines(Results(self.SAMPLES, memory))
        self.assertTrue(lines[0].endswith("| bytes per idle connection | CPU while idle |"),
                        lines[0])
        self.assertTrue(lines[3].endswith("| 588 | 0.00% |"), lines[3])

    def test_the_second_ratio_is_to_the_bare_ring(self) -> None:
        names = [FLOOR, RING, "ours"]
        samples = [sample(name, level, us) for name, level, us in (
            (FLOOR, 400, 5.0), (RING, 400, 4.0), ("ours", 400, 6.0), (FLOOR, 5000, 8.0),
            ("ours", 5000, 8.0))]
        lines = side_table.table(names, [400, 5000], Results(samples)).splitlines()
        self.assertEqual(lines[2].split(" | ")[1:3], ["5.00 (1.00x; 1.25x)", "8.00 (1.00x; -)"])
        self.assertEqual(lines[3].split(" | ")[1:3], ["4.00 (0.80x; 1.00x)", "-"])
        self.assertEqual(lines[4].split(" | ")[1:3], ["6.00 (1.20x; 1.50x)", "8.00 (1.00x; -)"])
        said = self.caption(names, Results(samples))
        self.assertIn(f"in brackets the ratio to {FLOOR}, then to {RING}.", said)

    def caption(self, names: list[str], found: Results) -> str:
        with mock.patch.object(syscalls, "words", return_value="A bare system call takes 66 ns."):
            return side_table.caption(names, found, 0)

    def test_system_calls_per_request_or_why_there_are_none(self) -> None:
        found = Results(self.SAMPLES, calls=[{"name": "ours", "total": 3.0512, "recv": 1.0}])
        lines = side_table.table(["floor", "ours"], [400], found, counted=True).splitlines()
        self.assertEqual([line.split(" | ")[-1] for line in lines],
                         ["system calls per request |", "--- |", "- |", "3.05 |"])
        said = self.caption(["floor", "ours"], found)
        self.assertIn("counted by perf in a run of their own, with 100 connections", said)
        self.assertIn("in brackets the ratio to floor.", said)
        self.assertTrue(said.endswith("A bare system call takes 66 ns."), said)
        found.uncounted = "No permissions to read"
        said = self.caption(["floor", "ours"], found)
        self.assertIn("System calls were not counted: No permissions to read.", said)


class Removed(unittest.TestCase):
    def sentences(self, *rounds: tuple[float, float, float]) -> list[str]:
        """Of rounds with the costs of Beast's stream, ours, and neither's timeouts."""
        found = Results()
        for costs in rounds:
            found.samples += [sample(name, 400, us)
                              for name, us in zip((STOCK, EDITED, WITHOUT), costs)]
        return side_table.removed([400, 5000], found)

    def test_it_is_what_the_differences_within_rounds_show(self) -> None:
        found, = self.sentences((20.0, 11.0, 10.0), (30.0, 20.0, 20.0), (18.0, 11.0, 8.0))
        self.assertIn("400 connections", found)
        self.assertIn("cost 10.00 µs a request, of which timers::tcp_stream removes 90% (70% to 100% "
                      "in nine of ten resamples of the 3 rounds)", found)
        self.assertIn("In user mode they cost 2.50 µs a request, of which timers::tcp_stream removes "
                      "90% (70% to 100%", found)

    def test_rounds_that_differ_by_more_than_a_cost_do_not_hide_it(self) -> None:
        found, = self.sentences((11.0, 10.2, 10.0), (31.0, 30.1, 30.0), (21.0, 20.1, 20.0))
        self.assertIn("cost 1.00 µs a request, of which timers::tcp_stream removes 90%", found)

    def test_nothing_is_said_where_noise_is_larger_than_the_cost(self) -> None:
        found, = self.sentences((9.0, 11.0, 10.0), (13.0, 8.0, 10.0), (12.0, 10.0, 10.0))
        self.assertIn("cost 2.00 µs a request, which is within the noise", found)

    def test_a_level_without_samples_has_no_sentence(self) -> None:
        self.assertEqual(self.sentences(), [])


if __name__ == "__main__":
    unittest.main()
