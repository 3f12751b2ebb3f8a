import unittest
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

from harness import measure, plan
from harness.gates_test import changed
from harness.measure import Bench, shape, with_costs
from harness.perf import parse_stat, syscalls_per
from results.cell import Cell, Measurement
from results.errors import Failed
from results.sample import Sample, Window

PLANNED = Measurement("load", 1, Cell("respond", "default", "asio", "lazy", 400))


def made(**fields: object) -> Sample:
    return Sample.of(PLANNED, **fields)


class WithCosts(unittest.TestCase):
    def costs(self, scenario: str = "respond", **changes: int) -> Sample:
        clean = changed()
        window = Window(**{each.name: getattr(clean, each.name) for each in fields(Window)})
        todo = replace(PLANNED, cell=replace(PLANNED.cell, scenario=scenario))
        return with_costs(plan.PRESETS["quick"], todo, replace(window, **changes))

    def test_cost_of_a_request(self) -> None:
        found = self.costs()
        self.assertEqual(found.connections_asked, 400)
        self.assertAlmostEqual(found.cpu.us_per_request, 10.0)
        self.assertAlmostEqual(found.timers_per_request["rearmed"], 2.0)
        self.assertTrue(found.server_bound)

    def test_cost_of_an_expired_request_in_s2(self) -> None:
        found = self.costs("increasing-timeout", timed_out=1000)
        self.assertAlmostEqual(found.cpu.us_per_request, 1000.0)

    def test_an_empty_window_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            self.costs(requests=0)


class Retries(unittest.TestCase):
    def outcome(self, *attempts: Sample) -> Sample:
        bench = Bench(mock.Mock(), plan.PRESETS["quick"], Path(), 0, 1)
        with mock.patch.object(measure, "_attempt", side_effect=list(attempts)):
            return measure.make_sample(bench, PLANNED)

    def test_a_flagged_sample_is_kept_when_the_second_attempt_fails(self) -> None:
        kept = self.outcome(made(flags=["steal"]), made(valid=False, flags=["failed"]))
        self.assertEqual((kept.valid, kept.flags, kept.retried), (True, ["steal"], True))

    def test_one_that_is_fine_is_not_measured_again(self) -> None:
        self.assertFalse(self.outcome(made()).retried)

    def test_the_second_attempt_counts_when_it_could_be_measured(self) -> None:
        flagged = made(flags=["steal"])
        self.assertEqual(self.outcome(flagged, made()).flags, [])
        failed = made(valid=False, flags=["failed"])
        self.assertEqual(self.outcome(failed, flagged).flags, ["steal"])


class Shapes(unittest.TestCase):
    def test_paper_keeps_wrks_own_duration_where_it_times(self) -> None:
        paper = plan.PRESETS["paper"]
        timed = shape(paper, PLANNED)
        self.assertEqual((timed.threads, timed.duration_s, timed.as_published), (12, 30, True))
        self.assertEqual(timed.opened, 396)  # wrk: as many in each of the twelve
        counted = shape(paper, Measurement("profile", 1, PLANNED.cell))
        self.assertFalse(counted.as_published)


class Syscalls(unittest.TestCase):
    TEXT = """Events disabled
58000,,raw_syscalls:sys_enter,1000,100.00,,
20000,,syscalls:sys_enter_recvfrom,1000,100.00,,
5000,,syscalls:sys_enter_recvmsg,1000,100.00,,
<not supported>,,syscalls:sys_enter_sendmsg,0,100.00,,
"""

    def test_names_that_mean_the_same_are_summed(self) -> None:
        per = syscalls_per(parse_stat(self.TEXT), 10_000)
        self.assertAlmostEqual(per["total"], 5.8)
        self.assertAlmostEqual(per["recv"], 2.5)
        self.assertNotIn("send", per)

    def test_no_total_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            syscalls_per({}, 10)


if __name__ == "__main__":
    unittest.main()
