"""The access log: its lines, and files that do not take them."""

import os
import re
import resource
import tempfile
import time
import unittest

from testing import GET, PATIENCE_S, Server, exchange, run, split_responses


class AccessLog(unittest.TestCase):
    LINE = r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1:\d+ "(.*)" (\d+) (\d+)$'

    def test_a_line_for_each_response(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "access.log")
            with Server("--access-log", file, "--threads=2") as server:
                exchange(server, b"G\x1b[2J\x00 / HTTP/1.1\r\nHost: h\r\n\r\n")
                exchange(server, b'GET /bytes/7?"x\\ HTTP/1.1\r\nHost: h\r\n\r\n' + GET)
                exchange(server, b"nonsense\x1b\r\n\r\n")
                exchange(server, b"GET / HTTP/2.0\r\n\r\n")
            with open(file) as log:
                rows = [re.match(self.LINE, line).groups() for line in log]
            self.assertEqual(sorted(rows), [("-", "400", "0"), ("-", "400", "0"), ("-", "505", "0"),
                                            ("GET / HTTP/1.1", "200", "0"),
                                            (r'GET /bytes/7?\"x\\ HTTP/1.1', "200", "7")])

    def test_lines_come_within_about_a_second(self):
        with tempfile.NamedTemporaryFile() as file, Server("--access-log", file.name) as server:
            exchange(server, GET)
            limit = time.monotonic() + PATIENCE_S
            while not os.path.getsize(file.name) and time.monotonic() < limit:
                time.sleep(0.05)
            self.assertGreater(os.path.getsize(file.name), 0)

    def test_a_full_pipe_holds_up_nothing_and_is_counted(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            try:
                with Server("--access-log", fifo) as server:
                    for _ in range(5):
                        self.assertEqual(len(split_responses(exchange(server, GET * 1000))), 1000)
                    _, metrics = server.admin("/metrics")
                    self.assertRegex(metrics, r"(?m)^idlewheel_access_log_lines_dropped_total\S* [1-9]")
            finally:
                os.close(reader)

    def test_one_that_may_not_grow_holds_up_nothing_and_is_counted(self):
        with tempfile.NamedTemporaryFile() as file, Server("--access-log", file.name) as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            self.assertEqual(len(split_responses(exchange(server, GET * 1000))), 1000)
            limit = time.monotonic() + PATIENCE_S
            dropped = None
            while not dropped and time.monotonic() < limit:
                _, metrics = server.admin("/metrics")
                dropped = re.search(r"(?m)^idlewheel_access_log_lines_dropped_total\S* [1-9]", metrics)
            self.assertTrue(dropped)

    def test_one_that_cannot_be_opened_is_a_failure(self):
        ended = run("--access-log", "/nothing/here", "--port=0")
        self.assertEqual((ended.returncode, ended.stderr.count("\n")), (1, 1), ended.stderr)
        self.assertIn("/nothing/here", ended.stderr)


if __name__ == "__main__":
    unittest.main()
