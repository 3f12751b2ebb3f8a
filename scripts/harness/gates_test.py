import unittest
from copy import deepcopy

from harness import gates
from results.cell import Cell, Measurement
from results.sample import WRK_ERRORS, Cpu, Host, Latency, Sample, Totals, WrkReport

CLEAN = Sample.of(
    Measurement("load", 1, Cell("respond", "default", "asio", "lazy", 400)),
    window_s=1.0, connections_open=400, connections_asked=400, requests=100_000, timed_out=0,
    timers={"rearmed": 200_000}, cpu=Cpu(user_s=0.4, sys_s=0.6, outside_s=1.0, utilisation=1.0),
    host=Host(steal_pct=0.0, foreign_pct=0.0, psi_some_pct=0.0, server_core_busy=0.99),
    wrk=WrkReport(requests=150_000, errors=dict.fromkeys(WRK_ERRORS, 0), duration_s=3.0,
                  latency_us=Latency(kind="", p50=1.0, p90=1.0, p99=1.0, max=1.0)),
    totals=Totals(responses=150_300, timed_out=0))


def changed(**changes: object) -> Sample:
    """CLEAN with some values changed; a__b reaches into a part of it."""
    found = deepcopy(CLEAN)
    for path, content in changes.items():
        *parents, last = path.split("__")
        inner = found
        for name in parents:
            inner = getattr(inner, name)
        if isinstance(inner, dict):
            inner[last] = content
        else:
            setattr(inner, last, content)
    return found


class Gates(unittest.TestCase):
    def test_a_clean_sample_has_no_flag(self) -> None:
        self.assertEqual(gates.of_load(CLEAN), [])

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
            self.assertEqual(gates.of_load(sample), [flag])

    def test_what_the_machine_does_not_count_is_not_judged(self) -> None:
        unknown = changed(host=Host(steal_pct=None, foreign_pct=None, psi_some_pct=None))
        self.assertEqual(gates.of_load(unknown), [])

    def test_requests_under_way_are_not_wrong_counts(self) -> None:
        self.assertEqual(gates.of_load(changed(wrk__requests=147_000)), [])

    def test_closing_is_no_error_where_the_scenario_closes(self) -> None:
        s2 = changed(scenario="increasing-timeout", connections_open=397, wrk__errors__read=2000,
                     totals__timed_out=2100, wrk__requests=0)
        self.assertEqual(gates.of_load(s2), [])
        self.assertEqual(gates.of_load(changed(wrk__errors__read=1)), ["socket_errors"])

    def test_timeouts_are_counted_on_both_sides(self) -> None:
        s2 = changed(scenario="increasing-timeout", wrk__errors__read=2000, wrk__requests=0,
                     totals__timed_out=9000)
        self.assertEqual(gates.of_load(s2), ["wrong_counts"])

    def test_a_profile_with_too_few_stacks_for_its_cpu_time(self) -> None:
        """One second of CPU time at 126 Hz: perf recorded 45 stacks where it saw user mode only."""
        self.assertEqual(gates.of_profile(CLEAN, 126, 126), [])
        self.assertEqual(gates.of_profile(CLEAN, 110, 126), [])
        self.assertEqual(gates.of_profile(CLEAN, 45, 126), ["few_stacks"])
        self.assertEqual(gates.of_profile(changed(cpu__utilisation=0.3), 45, 126), [])
        self.assertEqual(gates.of_profile(changed(host__steal_pct=9), 700, 997), ["steal"])
        self.assertEqual(gates.of_profile(CLEAN, 680, 997), ["few_stacks"])


if __name__ == "__main__":
    unittest.main()
