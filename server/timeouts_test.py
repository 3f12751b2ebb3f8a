"""The two timeouts of a connection, on every backend, lazy and eager."""

import contextlib
import itertools
import os
import random
import select
import signal
import socket
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import testing
from testing import GET, Server, WireTest, read_to_end, split_responses

IDLE_S = 0.3
REQUEST_S = 0.25
# A timer is never early. How late the client notices depends on the machine, so this is generous.
LATE_S = 5
FLAGS = (f"--idle-timeout={round(IDLE_S * 1000)}ms", f"--request-timeout={round(REQUEST_S * 1000)}ms")


class EveryBackend(unittest.TestCase):
    def for_each_server(self, check, *flags):
        """Checks all servers at the same time, because most of the time is spent waiting."""
        def run(backend, rearm):
            with Server("--timer-backend", backend, "--rearm", rearm, *flags) as server:
                check(server)

        kinds = list(itertools.product(testing.backends(), ("lazy", "eager")))
        with ThreadPoolExecutor(len(kinds)) as pool:
            runs = [pool.submit(run, *kind) for kind in kinds]
        for (backend, rearm), ended in zip(kinds, runs):
            with self.subTest(backend=backend, rearm=rearm):
                ended.result()

    def assert_closed_after(self, client, began, timeout_s) -> bytes:
        """The server closes with FIN, not with a reset, and not before the timeout."""
        data = read_to_end(client)
        elapsed = time.monotonic() - began
        self.assertGreaterEqual(elapsed, timeout_s)
        self.assertLess(elapsed, timeout_s + LATE_S)
        return data

    def test_serves_and_closes_idle_connections_with_zero_bytes(self):
        def check(server):
            with server.connect() as silent, server.connect() as client:
                began = time.monotonic()
                client.sendall(GET)
                first = client.recv(65536)
                self.assertTrue(first.startswith(b"HTTP/1.1 200 OK\r\n"), first)
                # The timeout counts from the last byte, which was sent just before we saw it.
                self.assertEqual(self.assert_closed_after(client, began, IDLE_S), b"")
                self.assertEqual(self.assert_closed_after(silent, began, 0), b"")
            stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(stats["connections"]["closed"]["idle"], 2)
            self.assertEqual(stats["timers"]["live"], 0)

        self.for_each_server(check, *FLAGS)

    def test_many_idle_connections_at_random_phases(self):
        """Each is closed no earlier than its timeout (timers/CONTRACT.md, line 26)."""
        def check(server):
            phases = random.Random(1)
            waiting = {}
            for _ in range(100):
                client = server.connect()
                waiting[client] = time.monotonic()  # before the last byte moves
                client.sendall(GET)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                time.sleep(phases.random() * 0.002)
            for client, began in waiting.items():
                with client:
                    self.assertEqual(self.assert_closed_after(client, began, IDLE_S), b"")

        self.for_each_server(check, *FLAGS)

    def test_activity_puts_off_the_idle_timeout(self):
        def check(server):
            with server.connect() as client:
                for _ in range(4):
                    time.sleep(IDLE_S / 2)
                    began = time.monotonic()
                    client.sendall(GET)
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                self.assertEqual(self.assert_closed_after(client, began, IDLE_S), b"")

        self.for_each_server(check, *FLAGS)

    def test_dripping_bytes_do_not_put_off_the_request_timeout(self):
        def check(server):
            with server.connect() as client:
                began = time.monotonic()
                for byte in b"GET / HTT":
                    client.sendall(bytes([byte]))
                    time.sleep(REQUEST_S / 20)
                data = self.assert_closed_after(client, began, REQUEST_S)
            self.assertEqual([r.status for r in split_responses(data)], [408])
            server.wait_for_stats(lambda s: s["connections"]["closed"]["request"] == 1)

        self.for_each_server(check, *FLAGS)

    def test_increasing_timeout_closes_without_an_answer(self):
        def check(server):
            for k in range(1, 4):
                with server.connect() as client:
                    began = time.monotonic()
                    client.sendall(GET)
                    self.assertEqual(self.assert_closed_after(client, began, k / 1000), b"")
            server.wait_for_stats(lambda s: s["connections"]["closed"]["request"] == 3)

        self.for_each_server(check, "--scenario", "increasing-timeout")

    def test_mixed_answers_all_but_one_in_the_period(self):
        def check(server):
            with server.connect() as client:
                client.sendall(GET * 3)
                responses = split_responses(read_to_end(client))
                self.assertEqual([r.status for r in responses], [200, 200])

        self.for_each_server(check, "--scenario", "mixed", "--mixed-period", "3")

    def test_the_timer_of_a_closed_connection_never_ends_the_next_one_on_its_descriptor(self):
        """Its descriptor is used again at once (timers/CONTRACT.md, line 29)."""
        def check(server):
            with server.connect() as first:
                first.sendall(GET)
                first.recv(65536)
                time.sleep(IDLE_S / 2)
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            with server.connect() as second:  # gets the descriptor that the first one had
                began = time.monotonic()
                second.sendall(GET)
                self.assertTrue(second.recv(65536).startswith(b"HTTP/1.1 200"))
                self.assertEqual(self.assert_closed_after(second, began, IDLE_S), b"")

        self.for_each_server(check, *FLAGS)

    def test_a_stalled_loop_does_not_time_out_requests_that_came_meanwhile(self):
        """There are more requests than one round of the loop reads (timers/CONTRACT.md, line 28)."""
        def check(server):
            clients = [server.connect() for _ in range(150)]
            for client in clients:
                client.sendall(GET[:-2])
            server.wait_for_stats(lambda s: s["timers"]["armed"] == 2 * len(clients))
            os.kill(server.process.pid, signal.SIGSTOP)
            for client in clients:
                client.sendall(GET[-2:])
            time.sleep(15)
            os.kill(server.process.pid, signal.SIGCONT)
            for client in clients:
                with client:
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

        self.for_each_server(check, "--request-timeout=15s", "--idle-timeout=15s")


class StalledLoop(unittest.TestCase):
    def statuses(self, meanwhile: int, size: int) -> list[int]:
        """The statuses of the answers to a body of `size` bytes. The first `meanwhile` of them come
        while the loop is stopped for longer than the request timeout, the rest slowly afterwards."""
        with Server("--request-timeout=3s") as server, server.connect() as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n" % size)
            server.wait_for_stats(lambda s: s["timers"]["armed"] == 2)
            os.kill(server.process.pid, signal.SIGSTOP)
            client.sendall(b"x" * meanwhile)
            time.sleep(3.1)
            os.kill(server.process.pid, signal.SIGCONT)
            for _ in range(size - meanwhile):
                if select.select([client], [], [], 0.1)[0]:
                    break
                client.sendall(b"x")
            return [r.status for r in split_responses(read_to_end(client))]

    def test_a_body_of_many_reads_that_came_meanwhile_is_not_late(self):
        self.assertEqual(self.statuses(60_000, 60_000), [200])

    def test_a_body_that_goes_on_afterwards_is(self):
        self.assertEqual(self.statuses(60_000, 61_000), [408])


class RaceAtTheTimeout(unittest.TestCase):
    """Tests one backend after the other, because the timing of the client matters."""

    def test_requests_around_the_idle_timeout_are_answered_or_see_a_clean_end(self):
        """Requests come from 5 ms before to 5 ms after the timeout. None meets a reset
        (timers/CONTRACT.md, line 27)."""
        for backend in testing.backends():
            with self.subTest(backend=backend):
                ends = {"answered": 0, "closed": 0}
                attempts = 0
                while not all(ends.values()):  # on a slow machine all may be sent too late
                    self.sweep(backend, ends)
                    attempts += 1
                    self.assertLess(attempts, 20, ends)

    def sweep(self, backend: str, ends: dict[str, int]):
        idle_s = 0.5
        offsets = [step / 10_000 for step in range(-50, 51)]
        with Server("--timer-backend", backend, f"--idle-timeout={idle_s * 1000:.0f}ms") as server, \
                contextlib.ExitStack() as stack:
            due = []
            for offset in offsets:
                client = stack.enter_context(server.connect())
                client.sendall(GET)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                due.append((time.monotonic() + idle_s + offset, client))
            for when, client in due:
                while time.monotonic() < when:
                    pass
                client.sendall(GET)
            for _, client in due:
                data = read_to_end(client)
                statuses = [r.status for r in split_responses(data)]
                self.assertIn(statuses, ([], [200]))
                ends["answered" if data else "closed"] += 1


class RequestTimeout(WireTest):
    FLAGS = FLAGS

    def test_a_body_that_stalls_is_answered_408(self):
        with self.server.connect() as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
            (response,) = split_responses(read_to_end(client))
            self.assertEqual((response.status, response.fields["connection"]), (408, "close"))

    def test_nothing_that_drips_puts_it_off(self):
        post = b"POST /echo HTTP/1.1\r\nHost: h\r\n"
        chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
        for start, drip, statuses in (
            (b"\r\n" + post, b"A: b\r\n", [408]),
            (post + b"Content-Length: 9999\r\n\r\n", b"x", [408]),
            (chunked, b"1\r\nx\r\n", [408]),
            (chunked + b"1;", b"x", [408]),
            (chunked + b"0\r\n", b"A: b\r\n", [408]),
        ):
            with self.subTest(start=start, drip=drip), self.server.connect() as client:
                client.sendall(start)
                began = time.monotonic()
                while not select.select([client], [], [], REQUEST_S / 20)[0]:
                    self.assertLess(time.monotonic() - began, REQUEST_S + LATE_S)
                    client.sendall(drip)
                self.assertEqual([r.status for r in split_responses(read_to_end(client))], statuses)

    def test_half_a_request_behind_whole_ones_has_its_own_time(self):
        with Server("--request-timeout=1s") as server, server.connect() as client:
            client.sendall(GET[:5])
            time.sleep(0.3)
            began = time.monotonic()
            client.sendall(GET[5:] + GET[:5])
            responses = split_responses(read_to_end(client))
            self.assertEqual([r.status for r in responses], [200, 408])
            self.assertGreaterEqual(time.monotonic() - began, 1)

    def test_a_client_that_does_not_read_is_closed(self):
        """The kernel holds little of the response meanwhile, and nothing of it afterwards."""
        with Server("--linger-timeout=100ms", *FLAGS) as server, server.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: h\r\n\r\n")
            server.wait_for_stats(lambda s: s["bytes_out"] > 0)
            time.sleep(REQUEST_S / 2)
            self.assertLess(server.stats()["bytes_out"], 500_000)
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(server.stats()["connections"]["closed"]["request"], 1)
            with self.assertRaises(ConnectionResetError):
                read_to_end(client)


class IdleTimeout(WireTest):
    FLAGS = ("--idle-timeout=3s", "--request-timeout=1h")

    def test_bytes_of_a_request_put_it_off(self):
        with self.server.connect() as client:
            for byte in GET[:8]:
                client.sendall(bytes([byte]))
                time.sleep(0.5)
            client.sendall(GET[8:])
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_bytes_of_a_response_put_it_off(self):
        with self.server.connect() as client:
            client.sendall(b"GET /bytes/30000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := client.recv(1 << 20):
                data += piece
                time.sleep(0.15)
            (response,) = split_responses(data)
            self.assertEqual(len(response.body), 30_000_000)


class TimeoutsOff(WireTest):
    FLAGS = ("--idle-timeout=0", "--request-timeout=0")

    def test_nothing_is_armed(self):
        with self.server.connect() as client:
            client.sendall(GET + GET[:5])
            client.recv(65536)
            timers = self.server.stats()["timers"]
            self.assertEqual((timers["armed"], timers["live"]), (0, 0))


class None_(WireTest):
    FLAGS = ("--timer-backend=none", "--idle-timeout=50ms")

    def test_serves_without_timeouts_and_says_so(self):
        with self.server.connect() as client:
            time.sleep(0.2)
            client.sendall(GET)
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
        self.server.stop()
        self.assertIn("NO TIMEOUTS", self.server.errors)


if __name__ == "__main__":
    unittest.main()
