import contextlib
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest
from collections import Counter

from harness import wrks, wrk
from harness.wrks import HISTOGRAM, Part, merged, percentile, shares
from harness.wrk import Shape
from results.sample import WRK_ERRORS, Latency, WrkReport


def part(host: str, buckets: dict[int, int], **errors: int) -> Part:
    report = WrkReport(requests=sum(buckets.values()), duration_s=2.0,
                       errors=dict.fromkeys(WRK_ERRORS, 0) | errors,
                       latency_us=Latency(kind="wrk_co_corrected", p50=1.0, p90=1.0, p99=2.0,
                                          max=float(max(buckets, default=0))))
    return Part(host, 10, report, Counter(buckets))


class Shares(unittest.TestCase):
    def split(self, connections: int, clients: int) -> list[int]:
        return [each.connections for each in shares(Shape(connections, 1, 9), clients)]

    def test_all_connections_and_as_even_as_can_be(self) -> None:
        self.assertEqual(self.split(10, 3), [4, 3, 3])
        self.assertEqual(self.split(11, 3), [4, 4, 3])
        self.assertEqual(self.split(3, 3), [1, 1, 1])
        for connections in range(1, 50):
            for clients in range(1, connections + 1):
                found = self.split(connections, clients)
                self.assertEqual(sum(found), connections)
                self.assertLessEqual(max(found) - min(found), 1)
                self.assertGreater(min(found), 0)

    def test_the_rest_of_the_load_is_the_same_on_each(self) -> None:
        for each in shares(Shape(10, 1, 9, pipeline=4), 3):
            self.assertEqual((each.threads, each.duration_s, each.pipeline), (1, 9, 4))


class Merging(unittest.TestCase):
    def test_counts_are_added_and_percentiles_are_those_of_all_answers(self) -> None:
        """99 quick answers on one host and 1 on a slow one: p99 is quick, the mean of two is not."""
        found = merged([part("a", {100: 990}), part("b", {9000: 10}, read=2)])
        self.assertEqual((found.requests, found.errors["read"]), (1000, 2))
        self.assertEqual((found.latency_us.p50, found.latency_us.p90, found.latency_us.p99),
                         (100, 100, 100))
        self.assertEqual(found.latency_us.max, 9000)
        found = merged([part("a", {100: 980}), part("b", {9000: 20})])
        self.assertEqual(found.latency_us.p99, 9000)

    def test_however_the_answers_are_spread_over_hosts_the_result_is_that_of_one(self) -> None:
        rng = random.Random(1)
        values = [rng.randrange(1, 5000) for _ in range(997)]
        for hosts in (1, 2, 7):
            parts = [part(str(i), Counter(values[i::hosts])) for i in range(hosts)]
            found = merged(parts).latency_us
            for p in wrks.PERCENTILES:
                rank = round(p / 100 * len(values) + 0.5)
                self.assertEqual(getattr(found, f"p{p}"), sorted(values)[rank - 1])

    def test_where_nothing_was_answered_there_is_no_latency(self) -> None:
        found = merged([part("a", {}, read=5), part("b", {}, read=6)])
        self.assertEqual((found.requests, found.errors["read"]), (0, 11))
        self.assertIsNone(found.latency_us.p99)

    def test_a_percentile_has_a_value_at_both_ends(self) -> None:
        self.assertEqual(percentile(Counter({5: 1}), 1), 5.0)
        self.assertEqual(percentile(Counter({5: 1, 7: 1}), 100), 7.0)

    def test_figures_of_a_host(self) -> None:
        self.assertEqual(part("a", {3: 4}, read=1).figures(),
                         {"connections": 10, "requests": 4, "errors": 1, "p50_us": 1.0, "p99_us": 2.0})


@unittest.skipUnless(shutil.which("wrk"), "needs wrk (scripts/setup installs it)")
class Histogram(unittest.TestCase):
    """What the script prints is what wrk itself counted."""

    def setUp(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(peer,), daemon=True).start()

    @staticmethod
    def answer(peer: socket.socket) -> None:
        with peer, contextlib.suppress(ConnectionError):
            while peer.recv(4096):
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def loaded(self, script: str) -> str:
        url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        return subprocess.run(Shape(2, 1, 1).argv(url, script), capture_output=True, text=True,
                              timeout=20).stdout

    def test_its_percentiles_are_those_that_wrk_prints(self) -> None:
        text = self.loaded(str(HISTOGRAM))
        buckets = Counter({int(v): int(n) for v, n in wrks._BUCKET.findall(text)})
        report = wrk.parse(text)
        self.assertGreaterEqual(buckets.total(), report.requests)  # wrk corrects its histogram upwards
        for p in wrks.PERCENTILES:
            printed = getattr(report.latency_us, f"p{p}")
            self.assertAlmostEqual(percentile(buckets, p), printed, delta=0.01 * printed + 1)

    def test_so_are_they_where_wrks_memory_cannot_be_read(self) -> None:
        blind = HISTOGRAM.read_text().replace("low == latency.min", "false")
        self.assertNotEqual(blind, HISTOGRAM.read_text())
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(blind)
            script.flush()
            text = self.loaded(script.name)
        buckets = Counter({int(v): int(n) for v, n in wrks._BUCKET.findall(text)})
        self.assertGreaterEqual(buckets.total(), wrk.parse(text).requests)


if __name__ == "__main__":
    unittest.main()
