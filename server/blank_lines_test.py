"""Empty lines before a request: for the timeouts and the drain they are silence."""

import contextlib
import itertools
import os
import select
import signal
import time
import unittest

from testing import GET, PATIENCE_S, Server, read_to_end


class BlankLines(unittest.TestCase):
    """An empty line before a request is no part of it (RFC 9112, 2.2). It is silence."""

    def test_do_not_start_the_time_of_the_next_request(self):
        with Server("--request-timeout=2s") as server:
            for stray in (b"\r\n", b"\r\n\r\n", b"\r"):
                with self.subTest(stray=stray), server.connect() as client:
                    client.sendall(GET + stray)
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                    time.sleep(1.8)
                    client.sendall(b"\n" if stray == b"\r" else b"\r\n")
                    client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n")
                    time.sleep(0.6)
                    client.sendall(b"x")
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_neither_hasten_nor_put_off_the_idle_timeout(self):
        """Whatever is sent of them: the connection is closed when the idle timeout has passed since
        the last byte that belonged to a request, and not at the request timeout."""
        flags = ("--idle-timeout=1s", "--request-timeout=100ms")
        for start, drip in ((b"", b"\r\n"), (b"\r", b""), (GET, b"\r\n"), (GET + b"\r", b""),
                            (GET + b"\r\n", b""), (GET, b"\r\n\r\n")):
            with self.subTest(start=start, drip=drip), Server(*flags) as server, \
                    server.connect() as client:
                began = time.monotonic()
                client.sendall(start)
                if start.startswith(GET):
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                while not select.select([client], [], [], 0.05)[0]:
                    self.assertLess(time.monotonic() - began, PATIENCE_S)
                    client.sendall(drip)
                self.assertEqual(client.recv(65536), b"")
                self.assertGreaterEqual(time.monotonic() - began, 1)
                stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
                self.assertEqual(stats["connections"]["closed"]["idle"], 1)

    def test_that_came_while_the_loop_was_busy_are_silence_all_the_same(self):
        with Server("--idle-timeout=2s") as server, server.connect() as client:
            client.sendall(GET)
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
            began = time.monotonic()
            os.kill(server.process.pid, signal.SIGSTOP)
            client.sendall(b"\r\n" * 20_000)
            time.sleep(2.1)
            os.kill(server.process.pid, signal.SIGCONT)
            self.assertEqual(read_to_end(client), b"")
            self.assertLess(time.monotonic() - began, 4)  # when another timeout would have passed

    def test_behind_a_request_that_is_withheld_are_silence(self):
        """Also where the two bytes of a line end come one after the other."""
        for lines in (b"\r\n", b"\r\n\r", b"\r"):
            with self.subTest(lines=lines), \
                    Server("--scenario=mixed", "--mixed-period=1", "--idle-timeout=1s") as server:
                # The j-th of these times out after j ms, so that the idle timeout comes first.
                with contextlib.ExitStack() as stack:
                    for _ in range(1500):
                        stack.enter_context(server.connect()).sendall(GET)
                before = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
                idle = before["connections"]["closed"]["idle"]  # some, on a slow machine
                with server.connect() as client:
                    client.sendall(GET)
                    server.wait_for_stats(lambda s: s["requests"] == 1501)
                    drip = itertools.cycle(lines)
                    while not select.select([client], [], [], 0.05)[0]:
                        client.sendall(bytes([next(drip)]))
                    self.assertEqual(client.recv(65536), b"")
                    server.wait_for_stats(lambda s: s["connections"]["closed"]["idle"] == idle + 1)

    def test_behind_an_answer_that_is_held_do_not_time_out(self):
        for lines in (b"\r\n", b"\r", b"\r\n\r"):
            with self.subTest(lines=lines), \
                    Server("--write-window-time=1h", "--request-timeout=300ms") as server, \
                    server.connect() as client:
                client.sendall(GET + lines)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                client.sendall(b"\n" * lines.endswith(b"\r") + GET)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_hold_no_buffer_and_end_with_the_server(self):
        with Server() as server, server.connect() as client, server.connect() as half:
            client.sendall(GET + b"\r\n")
            half.sendall(GET + b"\r")
            for each in (client, half):
                self.assertTrue(each.recv(65536).startswith(b"HTTP/1.1 200"))
            server.process.terminate()
            for each in (client, half):
                self.assertEqual(read_to_end(each), b"")


if __name__ == "__main__":
    unittest.main()
