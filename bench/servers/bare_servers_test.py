"""Tests of the bare servers: what they answer, that they lose no client, and how they end.

A stopped server (SIGSTOP) finds everything that was sent meanwhile at once, so the tests decide what
arrives together.
"""

import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest
from collections.abc import Iterator

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from harness.testing import forbid_io_uring, needs_io_uring  # noqa: E402: it lies in scripts

FOLDER = pathlib.Path(os.environ["BARE_SERVERS"])
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
ANSWER = re.compile(rb"HTTP/1\.1 200 OK\r\nServer: idlewheel\r\nDate: [^\r]{29}\r\n"
                    rb"Content-Length: 0\r\n\r\n")
ANSWER_BYTES = 94
LIMIT_S = 10
CLIENTS = 5000  # more than bare_ring has buffers


def raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ended(*argv: str, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run([FOLDER / argv[0], *argv[1:]], capture_output=True, text=True,
                          timeout=LIMIT_S, **options)


class BareServer:
    """Cases for each of them; the classes below name the program and how much one read takes."""

    argv: list[str]
    room: int

    def setUp(self) -> None:
        self.server = subprocess.Popen([FOLDER / self.argv[0], *self.argv[1:]],
                                       stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.server.stdout.close)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        line = self.server.stdout.readline()
        self.port = int(re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)[1])
        self.files_at_first = self.files()

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))

    def assert_closed(self) -> None:
        """The server keeps no descriptor of a client that is gone."""
        limit = time.monotonic() + LIMIT_S
        while self.files() != self.files_at_first and time.monotonic() < limit:
            time.sleep(0.005)
        self.assertEqual(self.files(), self.files_at_first)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        self.server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.server.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.server.send_signal(signal.SIGCONT)

    def client(self) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)
        self.addCleanup(found.close)
        return found

    def reset(self, client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def answers(self, client: socket.socket, count: int = 1) -> None:
        """So many, and no byte more."""
        text = b""
        while len(text) < count * ANSWER_BYTES:
            more = client.recv(65536)
            self.assertTrue(more, f"closed after {text!r}")
            text += more
        self.assertEqual(ANSWER.sub(b"", text), b"")
        self.assertEqual(len(text), count * ANSWER_BYTES)

    def test_answers_one_request_after_the_other(self) -> None:
        client = self.client()
        for _ in range(100):
            client.sendall(GET)
            self.answers(client)
        client.close()
        self.assert_closed()

    def test_a_request_and_the_clients_end_in_one(self) -> None:
        client = self.client()
        client.sendall(GET)
        self.answers(client)
        with self.stopped():
            client.sendall(GET)
            client.shutdown(socket.SHUT_WR)
        self.answers(client)
        self.assertEqual(client.recv(1), b"")
        self.assert_closed()

    def test_a_connection_that_brings_its_request_and_end_along(self) -> None:
        with self.stopped():
            client = self.client()
            client.sendall(GET)
            client.shutdown(socket.SHUT_WR)
        self.answers(client)
        self.assertEqual(client.recv(1), b"")
        self.assert_closed()

    def test_the_end_alone(self) -> None:
        for request in (b"", GET):
            client = self.client()
            if request:
                client.sendall(request)
                self.answers(client)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")
        self.assert_closed()

    def test_a_reset_before_during_and_after_a_request(self) -> None:
        for before, after in ((b"", b""), (GET, b""), (b"", GET), (GET, GET)):
            for _ in range(20):
                client = self.client()
                if before:
                    client.sendall(before)
                    self.answers(client)
                with self.stopped():
                    if after:
                        client.sendall(after)
                    self.reset(client)
        self.assert_closed()
        client = self.client()
        client.sendall(GET)
        self.answers(client)

    def test_what_one_read_does_not_take_is_not_left_behind(self) -> None:
        for size in (self.room - 1, self.room, self.room + 1, 3 * self.room):
            client = self.client()
            with self.stopped():
                client.sendall(b"x" * size)
            self.answers(client, -(-size // self.room))
            client.sendall(GET)
            self.answers(client)

    def test_many_requests_at_the_same_moment(self) -> None:
        raise_file_limit()
        count = min(CLIENTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(
                ("127.0.0.1", self.port), timeout=LIMIT_S)) for _ in range(count)]
            for _ in range(2):
                with self.stopped():
                    for client in clients:
                        client.sendall(GET)
                for client in clients:
                    self.answers(client)
        self.assert_closed()

    def test_numbers_of_descriptors_that_are_used_again(self) -> None:
        for _ in range(200):
            leaving, staying = self.client(), self.client()
            with self.stopped():
                leaving.sendall(GET)
                self.reset(leaving)
                arriving = self.client()
                arriving.sendall(GET)
                staying.sendall(GET)
            for client in (arriving, staying):
                self.answers(client)
                client.close()
        self.assert_closed()

    def test_bad_usage_is_two_and_one_line(self) -> None:
        for more in (["x"], ["65536"], ["-1"], ["1", "2"], ["1x"]):
            found = ended(*self.argv, *more)
            self.assertEqual((found.returncode, found.stdout), (2, ""), more)
            self.assertRegex(found.stderr, r"\Ausage: .*\n\Z")

    def test_a_port_in_use_is_one_and_one_line(self) -> None:
        found = ended(*self.argv, str(self.port))
        self.assertEqual((found.returncode, found.stdout), (1, ""))
        self.assertEqual(found.stderr, f"{self.argv[0]}: bind: Address already in use\n")


class LevelTriggered(BareServer, unittest.TestCase):
    argv, room = ["bare_epoll"], 16 * 1024


class EdgeTriggered(BareServer, unittest.TestCase):
    argv, room = ["bare_epoll", "--edge"], 16 * 1024


@unittest.skipUnless((FOLDER / "bare_ring").exists(), "needs liburing when it is built")
@needs_io_uring
class Ring(BareServer, unittest.TestCase):
    argv, room = ["bare_ring"], 2048


@unittest.skipUnless((FOLDER / "bare_ring").exists(), "needs liburing when it is built")
class RefusedRing(unittest.TestCase):
    def test_one_line_and_exit_code_one(self) -> None:
        found = ended("bare_ring", preexec_fn=forbid_io_uring)
        self.assertEqual((found.returncode, found.stdout), (1, ""))
        self.assertRegex(found.stderr, r"\Abare_ring: io_uring is not available: .*\n\Z")


class SyscallCost(unittest.TestCase):
    def test_prints_nanoseconds(self) -> None:
        found = ended("syscall_cost")
        self.assertEqual(found.returncode, 0)
        self.assertRegex(found.stdout, r"\A\d+\.\d\n\Z")
        self.assertTrue(1 < float(found.stdout) < 1e6, found.stdout)


if __name__ == "__main__":
    unittest.main()
