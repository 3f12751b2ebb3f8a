import unittest
from copy import deepcopy
from pathlib import Path
from unittest import mock

from harness import cell, plan
from harness.cell import Bench, Reading, between, gates, per_event, shape
from harness.perf import parse_stat, syscalls_per
from harness.plan import Cell
from harness.process import HostTimes
from harness.server import Failed

CLEAN = {
    "scenario": "respond", "timeouts": "default", "connections": 400, "connections_open": 400,
    "connections_asked": 400,
    "requests": 100_000, "timed_out": 0, "timers": {"rearmed": 200_000},
    "cpu": {"user_s": 0.4, "sys_s": 0.6, "outside_s": 1.0, "utilisation": 1.0},
    "host": {"steal_pct": 0.0, "foreign_pct": 0.0, "server_core_busy": 0.99},
    "wrk": {"requests": 150_000, "errors": dict.fromkeys(
        ("connect", "read", "write", "status", "timeout"), 0)},
    "totals": {"responses": 150_300, "timed_out": 0},
}


def changed(**changes: object) -> dict:
    """CLEAN with some values changed; a__b reaches into a dict."""
    sample = deepcopy(CLEAN)
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = sample
        for key in parents:
            inner = inner[key]
        inner[last] = value
    return sample


class Gates(unittest.TestCase):
    def test_a_clean_sample_has_no_flag(self) -> None:
        self.assertEqual(gates(CLEAN), [])

    def test_each_gate_closes(self) -> None:
        cases = {
            "steal": changed(host__steal_pct=1.1),
            "foreign_load": changed(host__foreign_pct=10.5),
            "socket_errors": changed(wrk__errors__connect=1),
            "missing_connections": changed(connections_open=399),
            "wrong_counts": changed(wrk__requests=140_000),
            "cpu_clocks_differ": changed(cpu__outside_s=1.2),
        }
        for flag, sample in cases.items():
            self.assertEqual(gates(sample), [flag])

    def test_requests_under_way_are_not_wrong_counts(self) -> None:
        self.assertEqual(gates(changed(wrk__requests=147_000)), [])

    def test_closing_is_no_error_where_the_scenario_closes(self) -> None:
        s2 = changed(scenario="increasing-timeout", connections_open=397, wrk__errors__read=2000,
                     totals__timed_out=2100, wrk__requests=0)
        self.assertEqual(gates(s2), [])
        self.assertEqual(gates(changed(wrk__errors__read=1)), ["socket_errors"])

    def test_timeouts_are_counted_on_both_sides(self) -> None:
        s2 = changed(scenario="increasing-timeout", wrk__errors__read=2000, wrk__requests=0,
                     totals__timed_out=9000)
        self.assertEqual(gates(s2), ["wrong_counts"])


class PerEvent(unittest.TestCase):
    def test_cost_of_a_request(self) -> None:
        found = per_event(CLEAN)
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 10.0)
        self.assertAlmostEqual(found["timers_per_request"]["rearmed"], 2.0)
        self.assertTrue(found["server_bound"])

    def test_cost_of_an_expired_request_in_s2(self) -> None:
        found = per_event(changed(scenario="increasing-timeout", timed_out=1000))
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 1000.0)

    def test_an_empty_window_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            per_event(changed(requests=0))


def reading(seconds: float) -> Reading:
    count = int(seconds * 1000)
    stats = {"requests": count, "responses": count, "writes": count, "bytes_out": 38 * count,
             "connections": {"open": 10, "closed": {"request": count // 10}},
             "timers": {"armed": 1, "rearmed": 2 * count, "moved": 0, "disarmed": 1, "expired": 0,
                        "late_us": {"p50": 1, "p99": 2, "max": 3}},
             "cpu_ns": int(seconds * 0.5e9), "mono_ns": int(seconds * 1e9)}
    host = HostTimes(seconds, 1.2 * seconds, 0.02 * seconds, {0: seconds * 0.6, 1: seconds * 0.6},
                     0.1 * seconds)
    return Reading(stats, 0.5 * seconds, int(20 * seconds), int(30 * seconds), 0.5 * seconds, host)


class Between(unittest.TestCase):
    def test_deltas_of_a_window(self) -> None:
        found = between(reading(1.0), reading(3.0), 0)
        self.assertAlmostEqual(found["window_s"], 2.0)
        self.assertEqual((found["requests"], found["timed_out"]), (2000, 200))
        self.assertAlmostEqual(found["rps"], 1000)
        self.assertAlmostEqual(found["cpu"]["user_s"], 0.4)
        self.assertAlmostEqual(found["cpu"]["sys_s"], 0.6)
        self.assertEqual(found["timers"]["rearmed"], 4000)
        self.assertAlmostEqual(found["host"]["steal_pct"], 1.0)
        self.assertAlmostEqual(found["host"]["psi_some_pct"], 10.0)
        self.assertAlmostEqual(found["host"]["server_core_busy"], 0.6)
        self.assertAlmostEqual(found["host"]["foreign_pct"], 17.5)


class Retries(unittest.TestCase):
    def outcome(self, *attempts: dict) -> dict:
        bench = Bench(mock.Mock(), plan.PRESETS["quick"], Path(), 0, 1)
        with mock.patch.object(cell, "_attempt", side_effect=list(attempts)):
            return cell.measure(bench, mock.Mock())

    def test_a_flagged_sample_is_kept_when_the_second_attempt_fails(self) -> None:
        flagged = {"valid": True, "flags": ["steal"]}
        kept = self.outcome(flagged, {"valid": False, "flags": ["failed"]})
        self.assertEqual((kept["valid"], kept["flags"], kept["retried"]), (True, ["steal"], True))

    def test_one_that_is_fine_is_not_measured_again(self) -> None:
        self.assertFalse(self.outcome({"valid": True, "flags": []})["retried"])

    def test_the_second_attempt_counts_when_it_could_be_measured(self) -> None:
        flagged = {"valid": True, "flags": ["steal"]}
        self.assertEqual(self.outcome(flagged, {"valid": True, "flags": []})["flags"], [])
        self.assertEqual(self.outcome({"valid": False, "flags": ["failed"]}, flagged)["flags"],
                         ["steal"])


class Shapes(unittest.TestCase):
    def test_paper_keeps_wrks_own_duration_where_it_times(self) -> None:
        paper = plan.PRESETS["paper"]
        timed = shape(paper, Cell("load", 1, "respond", "default", "none", "lazy", 400))
        self.assertEqual((timed.threads, timed.duration_s, timed.as_published), (12, 30, True))
        self.assertEqual(timed.opened, 396)  # wrk: as many in each of the twelve
        counted = shape(paper, Cell("profile", 1, "respond", "default", "none", "lazy", 400))
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
