import os
import tempfile
import unittest
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

from harness import gates, window
from harness.gates_test import CLEAN
from harness.process import HostTimes
from harness.window import Process, Reading, Target, between, costs, observe, steady
from results.errors import Failed
from results.sample import Host, Window


PAIR = frozenset({0, 1})
TICKS = os.sysconf("SC_CLK_TCK")


def reading(seconds: float, stats: bool = True, server: bool = True) -> Reading:
    """What is read after so many seconds at a steady pace."""
    count = int(seconds * 1000)
    counted = {"requests": count, "responses": count, "writes": count, "bytes_out": 38 * count,
               "connections": {"open": 10 + count, "closed": {"request": count // 10}},
               "timers": {"armed": 1, "rearmed": 2 * count, "moved": 0, "disarmed": 1,
                          "expired": 0, "late_us": {"p50": 1, "p99": 2, "max": 3}},
               "cpu_ns": int(seconds * 0.5e9), "mono_ns": int(seconds * 1e9)}
    host = HostTimes(seconds, 1.2 * seconds, 0.02 * seconds, {0: seconds * 0.6, 1: seconds * 0.6},
                     0.1 * seconds, 2)
    used = Process(0.5 * seconds, int(20 * seconds), int(30 * seconds))
    return Reading(counted if stats else None, used if server else None, 0.5 * seconds, host)


class Between(unittest.TestCase):
    def test_deltas_of_a_window(self) -> None:
        found = between(reading(1.0), reading(3.0), 0, PAIR)
        self.assertAlmostEqual(found.window_s, 2.0)
        self.assertEqual((found.requests, found.timed_out), (2000, 200))
        self.assertAlmostEqual(found.rps, 1000)
        self.assertAlmostEqual(found.cpu.user_s, 0.4)
        self.assertAlmostEqual(found.cpu.sys_s, 0.6)
        self.assertAlmostEqual(found.cpu.outside_s, 1.0)
        self.assertAlmostEqual(found.cpu.utilisation, 0.5)
        self.assertEqual(found.timers["rearmed"], 4000)
        self.assertEqual(found.connections_open, 1010)
        self.assertEqual(found.late_us.p99, 2)
        self.assertAlmostEqual(found.host.steal_pct, 1.0)
        self.assertAlmostEqual(found.host.psi_some_pct, 10.0)
        self.assertAlmostEqual(found.host.server_core_busy, 0.6)
        self.assertAlmostEqual(found.host.foreign_pct, 17.5)

    def test_what_the_machine_does_not_count_is_absent(self) -> None:
        """As in a container whose /proc/stat lacks the server's core, or is not there at all."""
        def between_hosts(core: int | None, **lacking: object) -> Host:
            pair = (reading(1.0), reading(3.0))
            return between(*(replace(r, host=replace(r.host, **lacking)) for r in pair), core,
                           PAIR).host

        self.assertIsNone(between_hosts(5).server_core_busy)
        found = between_hosts(0, core_busy_s={})
        self.assertIsNone(found.server_core_busy)
        self.assertAlmostEqual(found.foreign_pct, 17.5)  # the machine has no other cores
        self.assertIsNone(between_hosts(0, core_busy_s={}, cores=64).foreign_pct)
        self.assertAlmostEqual(found.steal_pct, 1.0)
        self.assertIsNone(between_hosts(0, psi_some_s=None).psi_some_pct)
        nothing = between_hosts(0, busy_s=None, steal_s=None, core_busy_s={}, psi_some_s=None,
                                cores=0)
        self.assertEqual(set(vars(nothing).values()), {None})

    def test_a_process_without_counters_gives_its_cpu_time(self) -> None:
        found = between(reading(1.0, stats=False), reading(3.0, stats=False), None)
        self.assertAlmostEqual(found.window_s, 2.0)
        self.assertAlmostEqual(found.cpu.user_s + found.cpu.sys_s, 1.0)
        self.assertIsNone(found.host.server_core_busy)
        self.assertEqual((found.requests, found.timers, found.late_us), (None, None, None))

    def test_counters_without_a_process_give_what_the_server_says(self) -> None:
        found = between(reading(1.0, server=False), reading(3.0, server=False), None)
        self.assertAlmostEqual(found.cpu.utilisation, 0.5)
        self.assertEqual((found.cpu.user_s, found.host), (None, None))
        self.assertEqual(found.requests, 2000)

    def test_an_address_alone_gives_the_length_of_the_window(self) -> None:
        bare = [reading(t, stats=False, server=False) for t in (1.0, 3.0)]
        found = between(*bare, None)
        self.assertAlmostEqual(found.window_s, 2.0)
        self.assertIsNone(found.cpu)


class ForeignLoad(unittest.TestCase):
    """Of 64 cores, the study uses 2 and 3; 34 and 35 are their hardware siblings."""

    WATCHED = frozenset({2, 3, 34, 35})
    SECONDS = 2

    def host(self, busy: dict[int, float], steal: dict[int, float] | None = None,
             cores: range | tuple = range(64), server: float = 0.9) -> Host:
        """Of a window in which these cores were busy for so much of the time, beside the study."""
        def stat(seconds: float) -> str:
            ticks = {n: [0] * 10 for n in cores}
            for n in cores:
                own = {2: 0.9, 3: 1.0}.get(n, 0.0)  # the server's and wrk's
                ticks[n][0] = round(seconds * TICKS * min(1.0, own + busy.get(n, 0.0)))
                ticks[n][7] = round(seconds * TICKS * (steal or {}).get(n, 0.0))
            rows = [["cpu ", *map(sum, zip(*ticks.values()))]] + [
                [f"cpu{n}", *row] for n, row in ticks.items()]
            return "".join(" ".join(map(str, row)) + "\n" for row in rows)

        readings = []
        with tempfile.TemporaryDirectory() as proc:
            for seconds in (10, 10 + self.SECONDS):
                Path(proc, "stat").write_text(stat(seconds))
                with mock.patch.object(os, "sched_getaffinity", return_value={2, 3}):
                    host = replace(HostTimes.read(Path(proc)), at_s=float(seconds))
                used = Process(server * seconds, 1, 1)
                readings.append(Reading(None, used, 1.0 * seconds, host))
        return window.host_between(*readings, 2, self.WATCHED)

    def flags(self, host: Host) -> list[str]:
        return gates.of_any(replace(CLEAN, host=host))

    def test_cores_that_are_none_of_ours_flag_nothing(self) -> None:
        for others in ({7: 1.0}, {n: 1.0 for n in range(64) if n not in self.WATCHED}):
            found = self.host(others)
            self.assertLess(found.foreign_pct, 1.0)
            self.assertEqual(self.flags(found), [])

    def test_our_cores_and_their_siblings_do(self) -> None:
        for core in (34, 35):
            found = self.host({core: 0.5})
            self.assertAlmostEqual(found.foreign_pct, 47.5, delta=1.0)
            self.assertEqual(self.flags(found), ["foreign_load"])
        # On a full core others take from the time of the server.
        self.assertEqual(self.flags(self.host({2: 0.1}, server=0.5)), ["foreign_load"])
        self.assertEqual(self.flags(self.host({34: 0.05, 35: 0.05})), [])
        self.assertEqual(self.flags(self.host({34: 0.1, 35: 0.1})), ["foreign_load"])

    def test_steal_is_that_of_our_cores_too(self) -> None:
        self.assertEqual(self.flags(self.host({}, {7: 1.0, 8: 1.0})), [])
        found = self.host({}, {2: 0.1})
        self.assertAlmostEqual(found.steal_pct, 2.5, delta=0.1)
        self.assertEqual(self.flags(found), ["steal"])

    def test_a_sibling_that_is_offline_is_left_out(self) -> None:
        found = self.host({7: 1.0, 35: 0.5}, cores=(0, 2, 3, 7, 35))
        self.assertAlmostEqual(found.foreign_pct, 47.5, delta=1.0)


class Observe(unittest.TestCase):
    def test_perf_records_for_as_long_as_the_window_lasts(self) -> None:
        seen = []

        @contextmanager
        def switched_on():
            seen.append("on")
            yield
            seen.append("off")

        readings = [reading(1.0, server=False), reading(3.0, server=False)]

        def take(target: Target, others: list[int]) -> Reading:
            seen.append(others)
            return readings.pop(0)

        wrk, perf = mock.Mock(pid=1), mock.Mock(pid=2)
        with (mock.patch.object(Reading, "take", side_effect=take),
              mock.patch.object(window, "hold", side_effect=lambda *given: seen.append(given))):
            found = observe(Target("http://h"), wrk, 2.0, perf, switched_on)
        self.assertEqual(seen, ["on", [1, 2], (2.0, None, wrk, perf), [1, 2], "off"])
        self.assertEqual(found.requests, 2000)

    def test_perf_on_a_core_that_is_not_watched_takes_nothing_from_those_that_are(self) -> None:
        """Its time would be missing from what foreign programs used."""
        wrk, perf = mock.Mock(pid=1), mock.Mock(pid=2)
        cores, taken = {1: {1}, 2: {4}}, []
        with (mock.patch.object(Reading, "take", side_effect=lambda _, others: taken.append(others)),
              mock.patch.object(window, "hold"), mock.patch.object(window, "between"),
              mock.patch.object(os, "sched_getaffinity", side_effect=cores.get)):
            for watched in (PAIR, PAIR | {4}):
                observe(Target("http://h", watched=watched), wrk, 2.0, perf)
        self.assertEqual(taken, [[1], [1], [1, 2], [1, 2]])


class Steady(unittest.TestCase):
    def test_the_load_is_held_once_all_connections_are_open(self) -> None:
        held = []
        counts = [{"connections": {"open": open_}} for open_ in (1, 2, 3)]
        target, wrk = Target("http://h", "http://a", child=mock.Mock()), mock.Mock()
        with (mock.patch.object(window, "read_stats", side_effect=counts),
              mock.patch.object(window, "hold", side_effect=lambda *given: held.append(given))):
            self.assertEqual(steady(target, wrk, 3, 1.5), 3)
        self.assertEqual(held, [(0.05, target.child, wrk)] * 2 + [(1.5, target.child, wrk)])

    def test_those_that_are_open_at_the_limit_are_counted(self) -> None:
        with (mock.patch.object(window, "read_stats", return_value={"connections": {"open": 2}}),
              mock.patch.object(window, "hold"), mock.patch.object(window, "OPEN_LIMIT_S", 0.0)):
            self.assertEqual(steady(Target("http://h", "http://a"), mock.Mock(), 3, 1.5), 2)


class CostsOfAWindow(unittest.TestCase):
    FOUND = between(reading(1.0), reading(3.0), None)  # 2000 requests, of which 200 timed out

    def test_cost_of_a_request(self) -> None:
        found = costs(self.FOUND)
        self.assertEqual((found.per, found.events), ("requests", 2000))
        self.assertAlmostEqual(found.us, 500.0)
        self.assertAlmostEqual(found.user_us, 200.0)
        self.assertAlmostEqual(found.timers["rearmed"], 2.0)

    def test_the_count_is_the_one_that_was_named(self) -> None:
        found = costs(self.FOUND, "timed_out")
        self.assertEqual((found.per, found.events), ("timed_out", 200))
        self.assertAlmostEqual(found.us, 5000.0)
        self.assertEqual(costs(replace(self.FOUND, timed_out=1999), "requests").events, 2000)

    def test_unnamed_it_is_the_timed_out_ones_where_most_time_out(self) -> None:
        self.assertEqual(costs(replace(self.FOUND, timed_out=1000)).per, "requests")
        self.assertEqual(costs(replace(self.FOUND, timed_out=1001)).per, "timed_out")

    def test_what_nobody_could_tell_stays_unknown(self) -> None:
        found = costs(Window(window_s=2.0, requests=10))
        self.assertEqual((found.us, found.user_us, found.timers), (None, None, None))
        found = costs(between(reading(1.0, server=False), reading(3.0, server=False), None))
        self.assertAlmostEqual(found.us, 500.0)
        self.assertIsNone(found.user_us)

    def test_an_empty_window_is_a_failure(self) -> None:
        for per in (None, "requests", "timed_out"):
            with self.assertRaises(Failed):
                costs(Window(window_s=2.0, requests=0, timed_out=0), per)


if __name__ == "__main__":
    unittest.main()
