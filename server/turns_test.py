"""How bytes travel: requests in pieces, resets, the write window, peers that do not read."""

import socket
import struct
import time
import unittest

from testing import (GET, PATIENCE_S, Server, WireTest, exchange, post, read_to_end, request,
                     split_responses)


class Fragments(WireTest):
    PIPELINE = (b"\r\n" + GET + request("POST /echo HTTP/1.1", "Content-Length: 3", body=b"abc") +
                request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked",
                        body=b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: t\r\n\r\n") +
                request("GET /bytes/10 HTTP/1.1", "Connection: close"))

    def answers(self, pieces: list[bytes]) -> list[tuple[int, bytes]]:
        with self.server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
            return [(r.status, r.body) for r in split_responses(read_to_end(client))]

    EXPECTED = [(200, b""), (200, b"abc"), (200, b"abc"), (200, b"x" * 10)]

    def test_split_at_every_position(self):
        for at in range(len(self.PIPELINE)):
            self.assertEqual(self.answers([self.PIPELINE[:at], self.PIPELINE[at:]]), self.EXPECTED)

    def test_a_byte_at_a_time(self):
        pieces = [bytes([byte]) for byte in self.PIPELINE]
        self.assertEqual(self.answers(pieces), self.EXPECTED)


class Faults(WireTest):
    """Peers that reset the connection or go away at any moment. A kernel may lose a reset of a socket
    that a ring reads (attacks_long.py), which then ends by a timeout."""

    FLAGS = ("--request-timeout=10s", "--idle-timeout=10s")

    def sent_and_reset(self, data: bytes, read: int = 0):
        with self.server.connect() as client:
            client.sendall(data)
            if read:
                client.recv(read)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def assert_nothing_is_left(self):
        stats = self.server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
        self.assertEqual(stats["timers"]["live"], 0)
        self.assertEqual(self.statuses(GET), [200])

    def test_a_reset_at_every_stage(self):
        for at in range(len(Fragments.PIPELINE) + 1):
            self.sent_and_reset(Fragments.PIPELINE[:at])
        self.sent_and_reset(request("GET /bytes/100000000 HTTP/1.1"), read=10)
        self.sent_and_reset(GET * 1000, read=10)
        self.sent_and_reset(b"nonsense\r\n\r\n", read=10)
        self.assert_nothing_is_left()

    def test_a_half_close_in_the_middle_of_a_request(self):
        for at in range(1, len(GET)):
            self.assertEqual(self.statuses(GET + GET[:at]), [200])
        self.assert_nothing_is_left()


class WriteWindow(unittest.TestCase):
    COUNT = 1000

    def writes(self, *flags: str) -> tuple[int, int]:
        """How many system calls and bytes it took to answer a thousand requests sent at once."""
        with Server(*flags) as server:
            statuses = [r.status for r in split_responses(exchange(server, GET * self.COUNT))]
            self.assertEqual(statuses, [200] * self.COUNT)
            stats = server.stats()
            return stats["writes"], stats["bytes_out"]

    def test_pipelined_responses_share_writes(self):
        writes, size = self.writes("--write-window-bytes=8KiB")
        reads = len(GET) * self.COUNT // 1024 + 1  # a read gives a kilobyte at least
        self.assertLessEqual(writes, -(-size // 8192) + 1 + reads)

    def test_a_larger_window_needs_fewer_writes(self):
        self.assertLess(self.writes("--write-window-bytes=64KiB")[0],
                        self.writes("--write-window-bytes=512")[0])

    def test_no_window_is_a_write_per_response(self):
        self.assertEqual(self.writes("--write-window-bytes=0")[0], self.COUNT)

    def test_a_window_of_so_many_responses(self):
        for responses in (1, 4, 50):
            flags = ("--write-window-bytes=1MiB", f"--write-window-responses={responses}")
            reads = len(GET) * self.COUNT // 1024 + 1
            writes, _ = self.writes(*flags)
            self.assertGreaterEqual(writes, self.COUNT // responses)
            self.assertLessEqual(writes, -(-self.COUNT // responses) + reads)

    def test_a_window_of_time_gathers_the_answers_to_several_reads(self):
        with Server("--write-window-time=2s") as server, server.connect() as client:
            for sent in range(1, 6):
                client.sendall(GET)
                server.wait_for_stats(lambda s, n=sent: s["requests"] == n)
            self.assertEqual(len(split_responses(client.recv(65536))), 5)
            self.assertEqual(server.stats()["writes"], 1)

    def test_a_window_of_time_holds_nothing_back_for_longer(self):
        with Server("--write-window-time=50ms") as server, server.connect() as client:
            began = time.monotonic()
            client.sendall(GET)
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
            self.assertGreaterEqual(time.monotonic() - began, 0.05)
            client.sendall(post("Expect: 100-continue", "Content-Length: 2"))
            self.assertEqual(client.recv(65536), b"HTTP/1.1 100 Continue\r\n\r\n")
            for end in (request("GET / HTTP/1.1", "Connection: close"), b"nonsense\r\n\r\n"):
                with server.connect() as last:
                    last.sendall(GET + end)
                    self.assertEqual(len(split_responses(read_to_end(last))), 2)
        with Server("--write-window-time=1h") as server:
            self.assertEqual(len(split_responses(exchange(server, GET * 3))), 3)  # ended by FIN
            with server.connect() as client:  # the window by bytes
                client.sendall(GET * self.COUNT)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_what_is_held_reaches_a_slow_reader_that_has_sent_its_end(self):
        with Server("--write-window-time=100ms", "--write-window-bytes=64MiB",
                    "--linger-timeout=200ms") as server, socket.socket() as client:
            client.settimeout(PATIENCE_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(GET * 5000)
            client.shutdown(socket.SHUT_WR)
            time.sleep(0.6)
            self.assertEqual(len(split_responses(read_to_end(client))), 5000)

    def test_a_peer_that_sends_its_end_and_never_reads_has_the_linger_timeout(self):
        with Server("--write-window-time=1h", "--write-window-bytes=64MiB", "--idle-timeout=0",
                    "--request-timeout=0", "--linger-timeout=200ms") as server, \
                socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(GET * 5000)
            client.shutdown(socket.SHUT_WR)
            stats = server.wait_for_stats(
                lambda s: s["connections"]["accepted"] and not s["connections"]["open"])
            self.assertEqual(stats["connections"]["closed"]["client"], 1)

    def test_what_is_held_leaves_before_a_drain_ends(self):
        with Server("--write-window-time=1h") as server, server.connect() as client:
            client.sendall(GET)
            server.wait_for_stats(lambda s: s["requests"] == 1)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(len(split_responses(read_to_end(client))), 1)

    def test_nothing_is_held_during_a_drain(self):
        with Server("--write-window-time=1h", "--drain-timeout=1h") as server, \
                server.connect() as client:
            client.sendall(GET[:5])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.begin_drain()
            client.sendall(GET[5:] + GET[:5])
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
            client.sendall(GET[5:])
            (last,) = split_responses(read_to_end(client))
            self.assertEqual(last.fields["connection"], "close")

    def test_what_is_held_leaves_before_a_timeout_ends_it(self):
        for flag in ("--idle-timeout=200ms", "--request-timeout=200ms"):
            with self.subTest(flag=flag), Server("--write-window-time=1h", flag) as server, \
                    server.connect() as client:
                client.sendall(GET)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                client.sendall(GET + GET[:5])
                statuses = [r.status for r in split_responses(read_to_end(client))]
                self.assertEqual(statuses, [200, 408] if "request" in flag else [200])

    def test_half_a_request_does_not_hold_up_those_before_it(self):
        with Server() as server, server.connect() as client:
            client.sendall(GET * 3 + GET[:10])
            data = b""
            while data.count(b"HTTP/1.1 200") < 3:
                data += client.recv(65536)
            client.sendall(GET[10:])
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))


class BackPressure(unittest.TestCase):
    def test_a_reader_that_starts_late_gets_everything(self):
        with Server() as server, server.connect() as client:
            client.sendall(request("GET /bytes/20000000 HTTP/1.1") * 2 +
                           request("GET / HTTP/1.1", "Connection: close"))
            time.sleep(0.3)
            sizes = [len(r.body) for r in split_responses(read_to_end(client))]
            self.assertEqual(sizes, [20_000_000, 20_000_000, 0])

    def test_a_peer_that_does_not_read_is_not_read_from(self):
        """It can send only as much as fits the kernel's buffers."""
        with Server() as server, server.connect() as client:
            client.sendall(request("GET /bytes/1000000000 HTTP/1.1"))
            client.settimeout(1)
            sent = 0
            with self.assertRaises(TimeoutError):
                while sent < 64 << 20:
                    sent += client.send(GET * 1000)


if __name__ == "__main__":
    unittest.main()
