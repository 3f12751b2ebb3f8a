import tempfile
import unittest
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

from harness import measure, perf, plan
from harness.fold_test import script
from harness.gates_test import changed
from harness.measure import Bench, shape, with_costs
from harness.perf import parse_stat, syscalls_per
from results.cell import Cell, Measurement
from results.errors import Failed
from results.sample import Cpu, Host, Sample, Window

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

    def test_the_bottleneck_is_judged_by_the_servers_own_time_not_by_its_cores(self) -> None:
        busy = Host(steal_pct=0.0, foreign_pct=0.0, psi_some_pct=0.0, server_core_busy=0.99)
        idle = replace(busy, server_core_busy=0.2)
        for utilisation, bound in ((0.41, False), (0.83, False), (0.949, False), (0.95, True)):
            for host in (busy, idle):
                cpu = Cpu(user_s=1.0, sys_s=1.0, utilisation=utilisation, outside_s=2.0)
                self.assertIs(self.costs(host=host, cpu=cpu).server_bound, bound, utilisation)

    def test_cost_of_an_expired_request_in_s2(self) -> None:
        found = self.costs("increasing-timeout", timed_out=1000)
        self.assertAlmostEqual(found.cpu.us_per_request, 1000.0)

    def test_an_empty_window_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            self.costs(requests=0)


class Retries(unittest.TestCase):
    def outcome(self, *attempts: Sample) -> Sample:
        bench = Bench(mock.Mock(), plan.PRESETS["quick"], Path(), 0, 1, 1)
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


    def disturbed(self, steal: float | None, foreign: float | None, *flags: str) -> Sample:
        host = Host(steal_pct=steal, foreign_pct=foreign, psi_some_pct=0.0)
        return made(host=host, flags=list(flags))

    def test_the_better_attempt_is_kept_and_not_the_newer(self) -> None:
        little, much = (self.disturbed(n, 0.0, "steal") for n in (1.5, 40.0))
        self.assertIs(self.outcome(little, much), little)
        self.assertIs(self.outcome(much, little), little)
        self.assertTrue(little.retried)

    def test_fewer_flags_are_better(self) -> None:
        one = self.disturbed(50.0, 0.0, "steal")
        two = self.disturbed(1.1, 11.0, "steal", "foreign_load")
        self.assertIs(self.outcome(one, two), one)
        self.assertIs(self.outcome(two, one), one)

    def test_what_nobody_counted_decides_nothing(self) -> None:
        first, second = (self.disturbed(None, None, "wrong_counts") for _ in range(2))
        self.assertIs(self.outcome(first, second), first)
        failed = [made(valid=False, flags=["failed"], error=word) for word in ("one", "two")]
        self.assertEqual(self.outcome(*failed).error, "one")

    def test_the_files_of_a_profile_are_those_of_the_attempt_that_is_kept(self) -> None:
        for kind, file in (("profile", "profiles/rounds/respond-asio-lazy-400.r01.folded"),
                           ("dwarf", "profiles/dwarf/respond-asio-lazy-400.folded")):
            todo = replace(PLANNED, kind=kind)
            tries = [Sample.of(todo, flags=["steal"] * n, stacks=Counter({("main", name): 7}))
                     for n, name in ((1, "kept"), (2, "worse"))]
            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(mock.Mock(), plan.PRESETS["quick"], Path(folder), 0, 1, 1)
                with mock.patch.object(measure, "_attempt", side_effect=tries):
                    found = measure.make_sample(bench, todo)
                self.assertEqual(Path(folder, file).read_text(), "main;kept 7\n")
                self.assertTrue(Path(folder, found.folded).is_file())
                self.assertEqual(found.round_folded, file if kind == "profile" else None)


class Profiles(unittest.TestCase):
    """_profile with a server, a load and a perf that only say what they are told."""

    def sample(self, text: str, sys_s: float = 0.6, cpu: float = 0.1) -> Sample:
        todo = replace(PLANNED, kind="profile")
        window = replace(Window(**{f.name: getattr(changed(), f.name) for f in fields(Window)}),
                         cpu=Cpu(user_s=0.4, sys_s=sys_s, utilisation=cpu, outside_s=1.0))
        bench = Bench(mock.Mock(), replace(plan.PRESETS["quick"], retries=0), Path(), 0, 1, 1)
        with (mock.patch.object(measure, "_loaded") as loaded,
              mock.patch.object(measure, "_recorded", return_value=window),
              mock.patch.object(measure, "_write_stacks"),
              mock.patch.object(perf, "Recorder"),
              mock.patch.object(perf, "script", return_value=text)):
            loaded.return_value.__enter__.return_value = (mock.Mock(pid=1), None, mock.Mock())
            return measure.make_sample(bench, todo)

    def test_a_whole_profile(self) -> None:
        found = self.sample(script("/x", 60) + script("/x", 40, kernel="tcp_sendmsg"))
        self.assertEqual((found.valid, found.flags, found.samples), (True, [], 100))

    def test_one_without_names_has_failed_and_publishes_no_share(self) -> None:
        found = self.sample(script("/x", 100, "[unknown]", "[unknown]", "tcp_sendmsg"))
        self.assertEqual((found.valid, found.shares), (False, None))
        self.assertIn("found no names", found.error)

    def test_one_of_user_mode_alone_has_failed_and_publishes_no_share(self) -> None:
        found = self.sample(script("/x", 45))
        self.assertEqual((found.valid, found.shares), (False, None))
        self.assertIn("user mode only", found.error)

    def test_too_few_stacks_for_the_cpu_time_are_flagged(self) -> None:
        found = self.sample(script("/x", 100, kernel="tcp_sendmsg"), cpu=1.0)
        self.assertEqual((found.valid, found.flags), (True, ["few_stacks"]))


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
