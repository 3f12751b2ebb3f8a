import unittest

from harness import manual
from harness.server import Failed

REPORT = {"requests": 900, "errors": {"connect": 0, "read": 3}, "latency_us": {
    "kind": "wrk_co_corrected", "p50": 100.0, "p90": 150.0, "p99": 200.0, "max": 300.0}}
STATS = {"requests": 1000, "responses": 1000, "writes": 1000, "bytes_out": 5000,
         "connections": {"open": 10, "closed": {"request": 0}},
         "timers": {"armed": 10, "rearmed": 20, "moved": 30, "disarmed": 40, "expired": 50,
                    "late_us": {"p50": 1, "p99": 2, "max": 3}},
         "cpu_ns": 1_000_000_000, "mono_ns": 5_000_000_000}


def later(**closed: int) -> dict:
    timers = {k: v + 2000 for k, v in STATS["timers"].items() if k != "late_us"}
    return STATS | {"requests": 2000, "cpu_ns": 1_010_000_000, "mono_ns": 7_000_000_000,
                    "timers": timers | {"late_us": STATS["timers"]["late_us"]},
                    "connections": {"open": 9, "closed": {"request": 0} | closed}}


class Costs(unittest.TestCase):
    def test_from_the_servers_counters(self) -> None:
        found = manual._costs(manual._from_server(STATS, later()), None)
        self.assertEqual(found["per"], "requests")
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 10.0)
        self.assertAlmostEqual(found["rps"], 500.0)
        self.assertAlmostEqual(found["timers_per_request"]["moved"], 2.0)

    def test_per_timed_out_request_where_they_time_out(self) -> None:
        found = manual._costs(manual._from_server(STATS, later(request=800)), None)
        self.assertEqual(found["per"], "timed_out")
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 12.5)

    def test_without_the_server_only_what_wrk_saw(self) -> None:
        found = manual._costs(manual._from_wrk(REPORT, 3.0), None)
        self.assertIsNone(found["cpu"]["us_per_request"])
        self.assertAlmostEqual(found["rps"], 300.0)
        found = manual._costs(manual._from_wrk(REPORT, 3.0), manual._Cpu(0.009, 25, 75))
        self.assertAlmostEqual(found["cpu"]["us_per_request"], 10.0)
        self.assertAlmostEqual(found["cpu"]["user_us_per_request"], 2.5)

    def test_nothing_served_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            manual._costs(manual._from_wrk(REPORT | {"requests": 0}, 3.0), None)

    def test_figures_of_a_server_that_failed_are_refused(self) -> None:
        good = manual._costs(manual._from_server(STATS, later()), None)
        fine = REPORT | {"errors": dict.fromkeys(("connect", "read", "write", "timeout", "status"), 0)}
        self.assertIsNone(manual.problem(good | {"wrk": fine}))
        for kind in ("status", "write"):
            errors = fine["errors"] | {kind: good["requests"]}
            self.assertIsNotNone(manual.problem(good | {"wrk": fine | {"errors": errors}}), kind)

    def test_the_table_leaves_out_what_is_unknown(self) -> None:
        known = {"connections": 10, "rss_kib": None, "wrk": REPORT}
        bare = manual.table(known | manual._costs(manual._from_wrk(REPORT, 3.0), None))
        self.assertNotIn("CPU", bare)
        self.assertNotIn("None", bare)
        full = manual.table(known | manual._costs(manual._from_server(STATS, later()), None))
        self.assertRegex(full, r"CPU per request +10\.000 us")
        self.assertIn("wrk_co_corrected", full)


if __name__ == "__main__":
    unittest.main()
