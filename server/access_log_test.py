"""The access log: its lines, and files that do not take them."""

import contextlib
import datetime
import os
import re
import resource
import tempfile
import time
import unittest

from testing import GET, PATIENCE_S, Server, exchange, run, split_responses


class AccessLog(unittest.TestCase):
    LINE = r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1:\d+ "(.*)" (\d+) (\d+)$'

    def dropped(self, server: Server) -> int:
        """How many lines the server says that it has dropped."""
        _, metrics = server.admin("/metrics")
        return int(re.search(r"(?m)^idlewheel_access_log_lines_dropped_total\S* (\d+)$", metrics)[1])

    def test_a_line_for_each_response(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "access.log")
            with Server("--access-log", file, "--threads=2") as server:
                exchange(server, b"G\x1b[2J\x00 / HTTP/1.1\r\nHost: h\r\n\r\n")
                exchange(server, b"GET /bytes/7?'x=%22 HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
                exchange(server, b"nonsense\x1b\r\n\r\n")
                exchange(server, b"GET / HTTP/2.0\r\n\r\n")
            self.assertEqual(os.stat(file).st_mode & 0o007, 0)  # it is nobody else's business
            with open(file) as log:
                rows = [re.match(self.LINE, line).groups() for line in log]
            self.assertEqual(sorted(rows), [("-", "400", "0"), ("-", "400", "0"), ("-", "505", "0"),
                                            ("GET / HTTP/1.1", "200", "0"),
                                            ("GET /bytes/7?'x=%22 HTTP/1.1", "200", "7")])

    def test_a_line_names_the_client(self):
        with tempfile.NamedTemporaryFile("r") as file:
            with Server("--access-log", file.name) as server, server.connect() as client:
                client.sendall(GET)
                client.recv(65536)
                host, port = client.getsockname()
            self.assertEqual(file.read().split(" ")[1], f"{host}:{port}")

    def test_the_time_is_in_utc_whatever_the_zone(self):
        with tempfile.NamedTemporaryFile("r") as file:
            with Server("--access-log", file.name, environment={"TZ": "EST5"}) as server:
                exchange(server, GET)
            logged = datetime.datetime.fromisoformat(file.read(19) + "+00:00")
        self.assertAlmostEqual(logged.timestamp(), time.time(), delta=PATIENCE_S)

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
                    self.assertGreater(self.dropped(server), 0)
                    self.assert_each_is_written_or_dropped(server, reader, 5000)
            finally:
                os.close(reader)

    def assert_each_is_written_or_dropped(self, server: Server, reader: int, lines: int):
        """The last lines come up to a second later."""
        written = 0
        limit = time.monotonic() + PATIENCE_S
        while (found := written + self.dropped(server)) < lines and time.monotonic() < limit:
            with contextlib.suppress(BlockingIOError):
                written += os.read(reader, 1 << 20).count(b"\n")
            time.sleep(0.05)
        self.assertEqual(found, lines)

    def test_one_that_may_not_grow_holds_up_nothing_and_is_counted(self):
        with tempfile.NamedTemporaryFile() as file, Server("--access-log", file.name) as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            self.assertEqual(len(split_responses(exchange(server, GET * 1000))), 1000)
            limit = time.monotonic() + PATIENCE_S
            while not self.dropped(server) and time.monotonic() < limit:
                pass
            self.assertGreater(self.dropped(server), 0)

    def test_one_that_cannot_be_opened_is_a_failure(self):
        ended = run("--access-log", "/nothing/here", "--port=0")
        self.assertEqual((ended.returncode, ended.stderr.count("\n")), (1, 1), ended.stderr)
        self.assertIn("/nothing/here", ended.stderr)


if __name__ == "__main__":
    unittest.main()
