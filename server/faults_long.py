"""Tests that take minutes: soaks, storms, and slow clients. scripts/test --long runs them."""

import contextlib
import http.client
import os
import pathlib
import re
import resource
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from testing import GET, PATIENCE_S, Server, needs

SOAK_S = int(os.environ.get("IDLEWHEEL_SOAK_S", "600"))
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def resident_kib(server: Server) -> int:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def descriptors_at_rest(server: Server) -> list[str]:
    """What the server's descriptors are, when no socket is left but those of the two listeners. That
    of a request for /stats is closed a moment later."""
    folder = f"/proc/{server.process.pid}/fd"
    server.stats()
    limit = time.monotonic() + PATIENCE_S
    while True:
        names = [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
        if sum(name.startswith("socket:") for name in names) == 2:
            return sorted(names)
        assert time.monotonic() < limit, names
        time.sleep(0.02)


def limit_memory(server: Server, spare: int):
    """Lets the server's address space grow by at most `spare` bytes."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    limit = int(re.search(r"VmSize:\s+(\d+)", status)[1]) * 1024 + spare
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def connect_from(server: Server, number: int) -> socket.socket:
    """Connects from one of many addresses. One alone would run out of ports: closed ones wait."""
    client = socket.socket()
    client.settimeout(PATIENCE_S)
    client.bind((f"127.0.1.{1 + number % 200}", 0))
    client.connect(("127.0.0.1", server.port))
    return client


class Load:
    """wrk in the background."""

    def __init__(self, server: Server, connections: int, seconds: int):
        self.process = subprocess.Popen(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{server.port}"],
            stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.output, _ = self.process.communicate()


class Leaks(unittest.TestCase):
    def test_100_000_connections_leave_nothing_behind(self):
        def cycle(server, number):
            with connect_from(server, number) as client:
                if number % 3 == 0:
                    client.sendall(GET)
                    client.recv(4096)
                elif number % 3 == 1:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

        with Server("--linger-timeout=100ms") as server:
            for number in range(10_000):
                cycle(server, number)
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            before = resident_kib(server), descriptors_at_rest(server)
            for number in range(100_000):
                cycle(server, number)
            stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(stats["connections"]["accepted"], 110_000)
            self.assertEqual(stats["timers"]["live"], 0)
            self.assertLess(resident_kib(server), before[0] + 1024)
            self.assertEqual(descriptors_at_rest(server), before[1])

    @needs("wrk")
    def test_a_mixed_soak_leaves_memory_where_it_was(self):
        """Busy, silent, slow and vanishing clients at once, with short timeouts. Their number has a
        limit, so the most memory that they can need is the same at any time."""
        with Server("--idle-timeout=500ms", "--request-timeout=400ms",
                    "--max-connections=500") as server:
            stop = threading.Event()

            def disturb(kind: int):
                while not stop.is_set():
                    with contextlib.suppress(OSError), connect_from(server, kind) as client:
                        if kind == 0:  # silent: closed by the idle timeout
                            client.recv(1)
                        elif kind == 1:  # dripping: answered 408
                            for byte in GET:
                                client.sendall(bytes([byte]))
                                time.sleep(0.05)
                        elif kind == 2:  # never reads
                            client.sendall(GET.replace(b"/ ", b"/bytes/100000000 "))
                            time.sleep(0.6)
                        else:  # vanishes
                            client.sendall(GET[:10])
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

            threads = [threading.Thread(target=disturb, args=(n % 4,)) for n in range(16)]
            for thread in threads:
                thread.start()
            with Load(server, 200, SOAK_S + 5):
                time.sleep(SOAK_S / 10)
                early = resident_kib(server)
                time.sleep(SOAK_S - SOAK_S / 10)
                late = resident_kib(server)
            stop.set()
            for thread in threads:
                thread.join()
            stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(stats["timers"]["live"], 0)
            for reason in ("client", "idle", "request"):
                self.assertGreater(stats["connections"]["closed"][reason], 0)
            self.assertLess(late, early + 2048)


class Storm(unittest.TestCase):
    def test_10_000_expiries_in_a_second_hold_nobody_up(self):
        """An unrelated request waits for one pass of them (timers/CONTRACT.md, line 30)."""
        with Server("--idle-timeout=6s", "--linger-timeout=0s") as server, \
                contextlib.ExitStack() as all_:
            began = time.monotonic()
            idle = []
            for number in range(10_000):
                client = all_.enter_context(connect_from(server, number))
                idle.append(client)
                # Every last byte moves within a second, so all timeouts expire within one.
            while time.monotonic() - began < 4:
                time.sleep(0.01)
            for client in idle:
                client.sendall(GET)
            latencies = []
            with server.connect() as busy:
                while server.stats()["connections"]["closed"]["idle"] < 10_000:
                    for _ in range(50):
                        sent = time.monotonic()
                        busy.sendall(GET)
                        self.assertTrue(busy.recv(4096).startswith(b"HTTP/1.1 200"))
                        latencies.append(time.monotonic() - sent)
                        time.sleep(0.001)
                    self.assertLess(time.monotonic() - began, 60)
            p99 = statistics.quantiles(latencies, n=100)[98]
            self.assertLess(p99, 0.020)


class Memory(unittest.TestCase):
    def test_a_gigabyte_to_a_peer_that_does_not_read_needs_no_memory(self):
        with Server("--request-timeout=1h") as server, server.connect() as client:
            client.sendall(GET.replace(b"/ ", b"/bytes/1073741824 ") + GET)
            server.wait_for_stats(lambda s: s["writes"] > 0)
            before = resident_kib(server)
            time.sleep(0.5)
            size, header = 0, client.recv(65536)
            size += len(header) - header.index(b"\r\n\r\n") - 4
            most = 0
            while size < 1 << 30:
                piece = client.recv(min(1 << 20, (1 << 30) - size))
                self.assertTrue(piece, "closed in the middle")
                size += len(piece)
                most = max(most, resident_kib(server)) if size % 64 == 0 else most
            self.assertLess(max(most, resident_kib(server)), before + 1024)
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))


    def test_idle_connections_hold_no_buffers(self):
        with Server() as server, contextlib.ExitStack() as all_:
            before = resident_kib(server)
            for number in range(2000):
                client = all_.enter_context(connect_from(server, number))
                client.sendall(GET)
                client.recv(4096)
            self.assertLess(resident_kib(server) - before, 2000 * 2)

    def test_out_of_memory_ends_the_connections_that_need_it_and_no_other(self):
        body = 1 << 20
        with Server(f"--max-body-bytes={body}", "--log-level=info") as server:
            limit_memory(server, 32 << 20)
            with contextlib.ExitStack() as all_:
                patient = all_.enter_context(server.connect())
                greedy = [all_.enter_context(server.connect()) for _ in range(200)]
                for client in greedy:
                    with contextlib.suppress(OSError):  # the server may have ended it
                        client.sendall(GET.replace(b"GET /", b"POST /echo")[:-2] +
                                       f"Content-Length: {body}\r\n\r\n".encode() +
                                       b"x" * (body - 1))
                patient.sendall(GET)
                self.assertTrue(patient.recv(4096).startswith(b"HTTP/1.1 200"))
                server.wait_for_stats(lambda s: s["connections"]["closed"]["error"] > 50)
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(server.stop(), 0)
            self.assertIn(server.errors.count("a connection failed"), (1, 2, 3), server.errors)


    def test_it_accepts_again_after_memory_ran_out(self):
        with Server() as server:
            limit_memory(server, 256 << 10)
            with contextlib.ExitStack() as all_:
                for _ in range(3000):
                    client = all_.enter_context(socket.socket())
                    client.settimeout(0.2)
                    with contextlib.suppress(OSError):
                        client.connect(("127.0.0.1", server.port))
                        client.send(GET[:20])
            resource.prlimit(server.process.pid, resource.RLIMIT_AS,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            with server.connect() as client:
                client.sendall(GET)
                self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200"))
        self.assertRegex(server.errors, "cannot accept|a handler failed|a connection failed")

    def test_what_a_closed_peer_never_reads_leaves_the_kernel(self):
        def unread(server):  # sockets in FIN_WAIT1
            rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
            return sum(row.split()[1].endswith(f":{server.port:04X}") and row.split()[3] == "04"
                       for row in rows)

        with Server("--request-timeout=5s", "--linger-timeout=200ms") as server, \
                contextlib.ExitStack() as all_:
            for _ in range(20):
                client = all_.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", server.port))
                client.sendall(GET.replace(b"/ ", b"/bytes/100000 ")[:-2] + b"Connection: close\r\n\r\n")
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(unread(server), 20)
            limit = time.monotonic() + 60
            while unread(server):
                self.assertLess(time.monotonic(), limit)
                time.sleep(0.5)


@needs("slowhttptest")
class SlowOnPurpose(unittest.TestCase):
    """slowhttptest opens a thousand connections, while a normal client is served."""

    def attack(self, mode: str, path: str, *flags: str):
        with Server("--request-timeout=5s", "--idle-timeout=30s") as server, \
                tempfile.TemporaryDirectory() as folder:
            url = f"http://127.0.0.1:{server.port}{path}"
            command = ["slowhttptest", mode, "-c", "1000", "-r", "500", "-l", "20", "-i", "2",
                       "-p", "3", "-g", "-o", f"{folder}/report", "-u", url, *flags]
            attack = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            slowest = 0.0
            while attack.poll() is None:
                began = time.monotonic()
                client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
                client.request("GET", "/bytes/1000")
                self.assertEqual(len(client.getresponse().read()), 1000)
                client.close()
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.05)
            attack.communicate()
            rows = pathlib.Path(folder, "report.csv").read_text().splitlines()[1:]
            # The columns: seconds, closed, pending, connected, service available.
            available = [int(row.split(",")[-1]) for row in rows]
            self.assertTrue(available and all(available), rows)
            self.assertLess(slowest, 1.0)
            stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertGreaterEqual(stats["connections"]["closed"]["request"], 900)

    def test_headers(self):
        self.attack("-H", "/")

    def test_bodies(self):
        self.attack("-B", "/echo", "-s", "8192")

    def test_reading(self):
        """The answers are larger than the kernel's buffers. If an answer fits them, a server does
        not see how slowly it is read."""
        self.attack("-X", "/bytes/10000000", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3")


if __name__ == "__main__":
    unittest.main()
