"""The listener: the options of its sockets, its port after an end, and what it counts."""

import contextlib
import ctypes
import os
import re
import resource
import socket
import time
import unittest

from testing import GET, PATIENCE_S, Server, read_to_end, request

PIDFD_GETFD = 438  # the system call; Python has no function for it


def accepted_socket(server: Server, client: socket.socket) -> socket.socket:
    """A copy of the descriptor that the server has of a client's connection."""
    libc = ctypes.CDLL(None)
    process = os.pidfd_open(server.process.pid)
    try:
        for name in os.listdir(f"/proc/{server.process.pid}/fd"):
            descriptor = libc.syscall(PIDFD_GETFD, process, int(name), 0)
            if descriptor < 0:
                raise unittest.SkipTest("the descriptors of another process may not be copied")
            try:
                found = socket.socket(fileno=descriptor)
            except OSError:  # no socket
                os.close(descriptor)
                continue
            with contextlib.suppress(OSError):  # not connected
                if found.getpeername() == client.getsockname():
                    return found
            found.close()
    finally:
        os.close(process)
    raise AssertionError("the server has no such connection")


class Sockets(unittest.TestCase):
    def options(self, *flags: str) -> list[int]:
        with Server(*flags) as server, server.connect() as client:
            client.sendall(GET)
            client.recv(65536)
            with accepted_socket(server, client) as accepted:
                return [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in
                        (socket.TCP_NODELAY, socket.TCP_NOTSENT_LOWAT, socket.TCP_USER_TIMEOUT)]

    def test_no_delay_little_unsent_and_an_end_for_peers_that_are_gone(self):
        for timeout, user_timeout_ms in (("20s", 20_000), ("1s", 10_000), ("0s", 0),
                                         ("48h", 24 * 3_600_000)):
            with self.subTest(timeout=timeout):
                self.assertEqual(self.options(f"--request-timeout={timeout}"),
                                 [1, 128 * 1024, user_timeout_ms])


class Port(unittest.TestCase):
    def test_it_is_free_again_at_once(self):
        """A connection that the server closed first is in TIME_WAIT on that port."""
        with Server() as first, first.connect() as client:
            client.sendall(request("GET / HTTP/1.1", "Connection: close"))
            read_to_end(client)
        with Server("--port", str(first.port)) as second:
            self.assertEqual(second.port, first.port)


class Errors(unittest.TestCase):
    def test_they_are_counted(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with Server() as server, contextlib.ExitStack() as clients:
            self.assertEqual(self.errors(server), 0)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (30, hard))
            for _ in range(40):
                clients.enter_context(server.connect())
            limit = time.monotonic() + PATIENCE_S
            while not self.errors(server) and time.monotonic() < limit:
                time.sleep(0.01)
            self.assertGreater(self.errors(server), 0)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))

    def errors(self, server: Server) -> int:
        _, metrics = server.admin("/metrics")
        return int(re.search(r"(?m)^idlewheel_accept_errors_total\S* (\d+)$", metrics)[1])


if __name__ == "__main__":
    unittest.main()
