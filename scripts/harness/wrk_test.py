import unittest

from harness import wrk
from harness.wrk import Shape, parse
from results.errors import Failed

FULL = """Running 30s test @ http://127.0.0.1:4242/
  1 threads and 5000 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   119.39ms   21.11ms   1.26s    93.41%
    Req/Sec    41.90k     2.23k   46.68k    78.00%
  Latency Distribution
     50%  117.53ms
     75%  121.85ms
     90%  980.00us
     99%    1.20s 
  417410 requests in 10.05s, 15.13MB read
  Socket errors: connect 1, read 22, write 333, timeout 4444
  Non-2xx or 3xx responses: 7
Requests/sec:  41533.32
Transfer/sec:      1.51MB
"""

NOTHING_ANSWERED = """Running 10s test @ http://127.0.0.1:4242/
  12 threads and 5000 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.00us    0.00us   0.00us    -nan%
    Req/Sec     0.00      0.00     0.00      -nan%
  0 requests in 10.02s, 0.00B read
  Socket errors: connect 0, read 8123, write 0, timeout 0
Requests/sec:      0.00
"""


class ParseWrk(unittest.TestCase):
    def test_everything_it_prints(self) -> None:
        found = parse(FULL)
        self.assertEqual(found.requests, 417410)
        self.assertAlmostEqual(found.duration_s, 10.05)
        self.assertEqual(found.errors, {"connect": 1, "read": 22, "write": 333, "status": 7,
                                           "timeout": 4444})
        latency = found.latency_us
        self.assertEqual(latency.kind, "wrk_co_corrected")
        self.assertAlmostEqual(latency.p50, 117_530)
        self.assertAlmostEqual(latency.p90, 980)
        self.assertAlmostEqual(latency.p99, 1_200_000)
        self.assertAlmostEqual(latency.max, 1_260_000)

    def test_without_distribution_and_errors(self) -> None:
        found = parse(NOTHING_ANSWERED)
        self.assertEqual((found.requests, found.errors["read"]), (0, 8123))
        self.assertIsNone(found.latency_us.p99)
        self.assertEqual(found.latency_us.max, 0)

    def test_minutes(self) -> None:
        self.assertAlmostEqual(parse("  5 requests in 1.50m, 1KB read\n").duration_s, 90)

    def test_what_is_no_report_is_refused(self) -> None:
        with self.assertRaisesRegex(Failed, "unable to connect"):
            parse("unable to connect to 127.0.0.1:1 Connection refused\n")
        with self.assertRaises(Failed):
            parse("")


class CommandLine(unittest.TestCase):
    def test_the_study_as_it_stood(self) -> None:
        argv = Shape(400, 12, 30, as_published=True).argv("http://127.0.0.1:4242")
        self.assertEqual(argv, ["wrk", "-t12", "-c400", "-d30s", "http://127.0.0.1:4242/"])

    def test_ours_keeps_slow_samples(self) -> None:
        argv = Shape(400, 1, 9).argv("http://127.0.0.1:4242")
        self.assertEqual(argv[argv.index("--timeout") + 1], "30s")

    def test_never_more_threads_than_connections(self) -> None:
        self.assertIn("-t3", Shape(3, 12, 9).argv("http://h"))


class Address(unittest.TestCase):
    def test_a_path_is_kept_exactly(self) -> None:
        for path in ("/stats", "/stats/", "/", "//", "/a?b=c", "/a?", "/a/?b=/", "/%41;x=1"):
            url = "http://127.0.0.1:1" + path
            self.assertIn(url, wrk.Shape(1, 1, 1).argv(url))

    def test_without_a_path_it_is_the_root(self) -> None:
        for url, asked in (("http://h:1", "http://h:1/"), ("http://h", "http://h/"),
                           ("http://[::1]:1", "http://[::1]:1/"), ("http://h?a", "http://h/?a")):
            self.assertIn(asked, wrk.Shape(1, 1, 1).argv(url))


if __name__ == "__main__":
    unittest.main()
