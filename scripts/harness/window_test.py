import unittest
from contextlib import contextmanager
from unittest import mock

from harness import window
from harness.process import HostTimes
from harness.window import Process, Reading, Target, between, measure


def reading(seconds: float, stats: bool = True, server: bool = True) -> Reading:
    """What is read after so many seconds at a steady pace."""
    count = int(seconds * 1000)
    counted = {"requests": count, "responses": count, "writes": count, "bytes_out": 38 * count,
               "connections": {"open": 10 + count, "closed": {"request": count // 10}},
               "timers": {"armed": 1, "rearmed": 2 * count, "moved": 0, "disarmed": 1,
                          "expired": 0, "late_us": {"p50": 1, "p99": 2, "max": 3}},
               "cpu_ns": int(seconds * 0.5e9), "mono_ns": int(seconds * 1e9)}
    host = HostTimes(seconds, 1.2 * seconds, 0.02 * seconds, {0: seconds * 0.6, 1: seconds * 0.6},
                     0.1 * seconds)
    used = Process(0.5 * seconds, int(20 * seconds), int(30 * seconds))
    return Reading(counted if stats else None, used if server else None, 0.5 * seconds, host)


class Between(unittest.TestCase):
    def test_deltas_of_a_window(self) -> None:
        found = between(reading(1.0), reading(3.0), 0)
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


class Measure(unittest.TestCase):
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
            found = measure(Target("http://h"), wrk, 2.0, perf, switched_on)
        self.assertEqual(seen, ["on", [1, 2], (2.0, wrk, perf), [1, 2], "off"])
        self.assertEqual(found.requests, 2000)


if __name__ == "__main__":
    unittest.main()
