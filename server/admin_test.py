"""The admin listener: health, statistics, metrics, and who may use it."""

import re
import signal
import socket
import subprocess
import time
import unittest

import testing
from testing import GET, PATIENCE_S, Server, exchange, needs


class Admin(unittest.TestCase):
    def test_paths(self):
        with Server() as server:
            self.assertEqual(server.admin("/healthz"), (200, "ok\n"))
            self.assertEqual(server.admin("/readyz"), (200, "ready\n"))
            self.assertEqual(server.admin("/nothing")[0], 404)

    def test_bad_requests_are_answered(self):
        with Server() as server:
            for request, status in (
                (b"nonsense\r\n\r\n", b"400"),
                (b"GET /stats HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"413"),
                (b"GET /stats HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"413"),
                (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
                (b"GET /healthz?x=1 HTTP/1.1\r\nConnection: close\r\n\r\n", b"200"),
            ):
                with self.subTest(request=request[:40]), socket.create_connection(
                        ("127.0.0.1", server.admin_port), timeout=PATIENCE_S) as client:
                    client.sendall(request)
                    self.assertEqual(client.recv(65536).split(b" ")[1], status)

    def test_stats_count(self):
        with Server("--threads=2", "--rearm=eager") as server:
            for _ in range(5):
                exchange(server, GET * 2)
            stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual((stats["requests"], stats["responses"]), (10, 10))
            self.assertEqual(stats["connections"]["accepted"], 5)
            self.assertEqual(stats["connections"]["closed"]["client"], 5)
            self.assertGreater(stats["bytes_out"], 0)
            timers = stats["timers"]
            self.assertEqual(timers["armed"], timers["disarmed"] + timers["expired"])
            self.assertEqual(timers["moved"], timers["armed"] + timers["rearmed"])
            self.assertGreater(stats["cpu_ns"], 0)
            self.assertGreater(stats["mono_ns"], 0)

    def test_lazy_moves_less_than_eager(self):
        moved = {}
        for rearm in ("lazy", "eager"):
            with Server("--rearm", rearm) as server:
                with server.connect() as client:
                    for _ in range(50):
                        client.sendall(GET)
                        client.recv(65536)
                    moved[rearm] = server.stats()["timers"]["moved"]
        self.assertLessEqual(moved["lazy"], 3)  # the idle, request and linger timeouts at most
        self.assertGreaterEqual(moved["eager"], 150)

    def test_metrics_are_prometheus_text(self):
        with Server() as server:
            exchange(server, GET)
            status, text = server.admin("/metrics")
            self.assertEqual(status, 200)
            self.assertRegex(text, r"(?m)^idlewheel_requests_total\{.*\} 1$")
            for histogram in ("timer_lateness", "loop_stall"):
                self.assertRegex(text, rf'(?m)^idlewheel_{histogram}_seconds_bucket\{{.*le="\+Inf"')
            self.assertRegex(text, r'(?m)^idlewheel_timer_operations_total\{.*operation="armed".*\} ')

    @needs("promtool")
    def test_promtool_finds_nothing_wrong_with_the_metrics(self):
        for flags in ((), ("--threads=2", "--timer-backend=asio", "--access-log=/dev/null")):
            with self.subTest(flags=flags), Server(*flags) as server:
                exchange(server, GET + b"nonsense\r\n\r\n")
                _, text = server.admin("/metrics")
                checked = subprocess.run(["promtool", "check", "metrics"], input=text,
                                         capture_output=True, text=True)
                self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_a_stalled_loop_shows(self):
        with Server() as server:
            limit = time.monotonic() + PATIENCE_S
            stalled = 0.0
            while stalled < 0.2 and time.monotonic() < limit:
                exchange(server, GET)  # starts the loop probe, which runs for 100 ms
                server.process.send_signal(signal.SIGSTOP)
                time.sleep(0.5)
                server.process.send_signal(signal.SIGCONT)
                _, text = server.admin("/metrics")
                stalled = float(re.search(r"(?m)^idlewheel_loop_stall_seconds_sum\S* (\S+)$", text)[1])
            self.assertGreater(stalled, 0.2)

    def test_there_is_none_by_default(self):
        process = subprocess.Popen([testing.BINARY, "--port=0"], stdout=subprocess.PIPE, text=True)
        try:
            self.assertNotIn("admin=", process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(PATIENCE_S), 0)
            process.stdout.close()


if __name__ == "__main__":
    unittest.main()
