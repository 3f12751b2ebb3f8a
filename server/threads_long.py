"""Several threads under load. Their metrics are read, and then they are drained. scripts/test
--long runs this with the thread sanitizer, whose findings change the exit code."""

import subprocess
import time
import unittest

from testing import PATIENCE_S, Server, needs


@needs("wrk")
class Threads(unittest.TestCase):
    def test_load_scrapes_and_a_drain(self):
        for backend in ("hierarchical-wheel", "asio", "none"):
            with self.subTest(backend=backend), Server(
                    "--threads=4", "--timer-backend", backend, "--write-window-time=1ms") as server:
                load = subprocess.Popen(
                    ["wrk", "-t2", "-c50", "-d6s", f"http://127.0.0.1:{server.port}/bytes/100"],
                    stdout=subprocess.DEVNULL)
                try:
                    end = time.monotonic() + 4
                    while time.monotonic() < end:
                        self.assertEqual(server.admin("/metrics")[0], 200)
                    self.assertGreater(server.stats()["requests"], 100)
                    self.assertEqual(server.stop(), 0)
                finally:
                    load.terminate()
                    load.wait(PATIENCE_S)


if __name__ == "__main__":
    unittest.main()
