import unittest
from dataclasses import replace

from harness import running_server
from results.errors import Failed
from results.sample import (TIMER_COUNTS, WRK_ERRORS, Cpu, Lateness, Latency, Window, WrkReport)

REPORT = WrkReport(requests=900, duration_s=3.0,
                   errors=dict.fromkeys(WRK_ERRORS, 0) | {"read": 3},
                   latency_us=Latency(kind="wrk_co_corrected", p50=100.0, p90=150.0, p99=200.0,
                                      max=300.0))


def counted(timed_out: int = 0) -> Window:
    """Of a server with an admin listener."""
    return Window(window_s=2.0, requests=1000, timed_out=timed_out, rps=500.0,
                  timers=dict.fromkeys(TIMER_COUNTS, 2000), late_us=Lateness(p50=1, p99=2, max=3),
                  cpu=Cpu(user_s=None, sys_s=None, utilisation=0.005, outside_s=None),
                  bytes_out=0, writes=0, connections_open=9)


class Figures(unittest.TestCase):
    def figures(self, window: Window, report: WrkReport = REPORT) -> dict:
        return running_server.figures("http://h", 10, window, report)

    def test_from_the_servers_counters(self) -> None:
        found = self.figures(counted())
        self.assertEqual(found["per"], "requests")
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 10.0)
        self.assertAlmostEqual(found["rps"], 500.0)
        self.assertAlmostEqual(found["timers_per_request"]["moved"], 2.0)

    def test_per_timed_out_request_where_they_time_out(self) -> None:
        found = self.figures(counted(timed_out=800))
        self.assertEqual(found["per"], "timed_out")
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 12.5)

    def test_without_the_server_only_what_wrk_saw(self) -> None:
        found = self.figures(Window(window_s=3.0))
        self.assertIsNone(found["cpu"]["us_per_request"])
        self.assertAlmostEqual(found["rps"], 300.0)
        cpu = Cpu(user_s=0.00225, sys_s=0.00675, utilisation=0.003, outside_s=0.009)
        found = self.figures(Window(window_s=3.0, cpu=cpu))
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 10.0)
        self.assertAlmostEqual(found["cpu"]["user_us_per_request"], 2.5)

    def test_the_keys_of_json(self) -> None:
        self.assertEqual(list(self.figures(counted())), [
            "url", "connections", "rss_kib", "window_s", "requests", "timed_out", "timers",
            "late_us", "bytes_out", "writes", "connections_open", "per", "rps",
            "server_bound", "cpu",
            "timers_per_request", "wrk"])

    def test_a_rate_that_the_server_did_not_limit_is_said_to_be_the_clients(self) -> None:
        for utilisation, bound in ((0.41, False), (0.94, False), (0.95, True), (1.6, True)):
            cpu = Cpu(user_s=None, sys_s=None, utilisation=utilisation, outside_s=None)
            found = self.figures(replace(counted(), cpu=cpu))
            self.assertIs(found["server_bound"], bound)
            said = f"(client-bound: the server used {utilisation:.0%} of a core)"
            self.assertEqual(said in running_server.table(found), not bound)

    def test_nothing_served_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            self.figures(Window(window_s=3.0), replace(REPORT, requests=0))

    def test_figures_of_a_server_that_failed_are_refused(self) -> None:
        fine = replace(REPORT, errors=dict.fromkeys(WRK_ERRORS, 0))
        self.assertIsNone(running_server.problem(self.figures(counted(), fine)))
        for kind in ("status", "write"):
            bad = replace(fine, errors=fine.errors | {kind: 1000})
            self.assertIsNotNone(running_server.problem(self.figures(counted(), bad)), kind)

    def test_the_table_leaves_out_what_is_unknown(self) -> None:
        bare = running_server.table(self.figures(Window(window_s=3.0)))
        self.assertNotIn("CPU", bare)
        self.assertNotIn("None", bare)
        full = running_server.table(self.figures(counted()))
        self.assertRegex(full, r"CPU per request +10\.000 us")
        self.assertIn("wrk_co_corrected", full)
        self.assertNotIn("transport", full)
        told = running_server.table(self.figures(counted()) | {"io": "io_uring"})
        self.assertRegex(told, r"transport \(--io\) +io_uring\n")


if __name__ == "__main__":
    unittest.main()
