"""The access log: its lines, and files that do not take them."""

import contextlib
import datetime
import os
import re
import resource
import socket
import subprocess
import tempfile
import time
import unittest

import testing
from testing import (GET, LOG_LINE, PATIENCE_S, Server, exchange, lines_of, run, split_responses,
                     wait_for)

class AccessLog(unittest.TestCase):
    def test_a_line_for_each_response(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "access.log")
            with Server("--access-log", file, "--threads=2") as server:
                exchange(server, b"G\x1b[2J\x00 / HTTP/1.1\r\nHost: h\r\n\r\n")
                exchange(server, b"GET /bytes/7?'x=%22 HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
                # What would have to be escaped is refused, so the line is not kept.
                for unsafe in (b'"', b"\\", b"\x1b", b"\x7f", b"\xe4"):
                    exchange(server, b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % unsafe)
                exchange(server, b'G"T / HTTP/1.1\r\nHost: h\r\n\r\n')
                exchange(server, b"nonsense\x1b\r\n\r\n")
                exchange(server, b"GET / HTTP/2.0\r\n\r\n")
            self.assertEqual(os.stat(file).st_mode & 0o007, 0)  # it is nobody else's business
            with open(file) as log:
                rows = [re.match(LOG_LINE, line).groups() for line in log]
            self.assertEqual(sorted(rows), [*[("-", "400", "0")] * 8, ("-", "505", "0"),
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
            wait_for(lambda: os.path.getsize(file.name))

    def test_a_full_pipe_holds_up_nothing_and_is_counted(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            try:
                with Server("--access-log", fifo) as server:
                    for _ in range(5):
                        self.assertEqual(len(split_responses(exchange(server, GET * 1000))), 1000)
                    self.assertGreater(server.dropped_log_lines(), 0)
                    self.assert_each_is_written_or_dropped(server, reader, 5000)
            finally:
                os.close(reader)

    def assert_each_is_written_or_dropped(self, server: Server, reader: int, lines: int):
        """The last lines come up to a second later."""
        written = 0
        limit = time.monotonic() + PATIENCE_S
        while (found := written + server.dropped_log_lines()) < lines and time.monotonic() < limit:
            with contextlib.suppress(BlockingIOError):
                written += os.read(reader, 1 << 20).count(b"\n")
            time.sleep(0.05)
        self.assertEqual(found, lines)

    def test_one_that_may_not_grow_holds_up_nothing_and_is_counted(self):
        with tempfile.NamedTemporaryFile() as file, Server("--access-log", file.name) as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            self.assertEqual(len(split_responses(exchange(server, GET * 1000))), 1000)
            wait_for(server.dropped_log_lines)

    def test_a_line_that_was_cut_is_completed_before_the_next(self):
        with tempfile.NamedTemporaryFile() as file, Server("--access-log", file.name) as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                             (1000, resource.RLIM_INFINITY))
            exchange(server, GET * 100)
            wait_for(lambda: server.dropped_log_lines())
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            exchange(server, GET * 100)
            wait_for(lambda: len(lines_of(file.name)) + server.dropped_log_lines() == 200)
            for line in lines_of(file.name):
                self.assertRegex(line, LOG_LINE)

    def test_one_that_cannot_be_opened_is_a_failure(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as named:
            named.bind(os.path.join(folder, "socket"))
            for file in ("/nothing/here", folder, os.path.join(folder, "socket"), "/dev/fd/999",
                         "/proc/self/fd/no"):
                with self.subTest(file=file):
                    self.assert_fails(run("--access-log", file, "--port=0"), file)

    def test_a_descriptor_that_is_closed_or_only_read_is_a_failure(self):
        for shell in (">&-", "1</dev/null"):
            for name in ("-", "/dev/stdout", "/dev/fd/1"):
                with self.subTest(shell=shell, name=name):
                    ended = subprocess.run(
                        ["sh", "-c", f'exec "$0" "$@" {shell}', testing.BINARY, "--access-log", name,
                         "--port=0"], stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
                    self.assert_fails(ended, f"cannot open {name}: it is not open for writing")

    def test_a_descriptor_that_the_server_was_not_started_with_is_a_failure(self):
        """Not even when the server has opened one of that number."""
        for folder in ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"):
            for number in range(3, 8):
                name = f"{folder}/{number}"
                with self.subTest(name=name):
                    self.assert_fails(run("--access-log", name, "--port=0"),
                                      f"cannot open {name}: it is not open for writing")

    def test_a_timer_trace_needs_such_a_descriptor_too(self):
        self.assert_fails(run("--timer-trace=/dev/fd/3", "--port=0"),
                          "timer trace: cannot open /dev/fd/3: it is not open for writing")

    def test_a_failure_is_reported_without_control_characters(self):
        for flag in ("--access-log", "--timer-trace"):
            with self.subTest(flag=flag):
                self.assert_fails(run(flag, "no/a\n\x1b[31mb", "--port=0"), "no/a??[31mb")

    def assert_fails(self, ended: subprocess.CompletedProcess, reason: str):
        self.assertEqual((ended.returncode, ended.stderr.count("\n")), (1, 1), ended.stderr)
        self.assertIn(reason, ended.stderr)


if __name__ == "__main__":
    unittest.main()
