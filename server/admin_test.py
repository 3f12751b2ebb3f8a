"""The admin listener: health, statistics, metrics, and who may use it."""

import contextlib
import json
import re
import resource
import signal
import socket
import subprocess
import time
import unittest

import testing
from testing import (GET, PATIENCE_S, Server, exchange, needs, read_to_end, split_responses,
                     wait_for)

MOST_CONNECTIONS = 32


def connect_admin(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.admin_port), timeout=PATIENCE_S)


def get(target: str, *fields: str, version: str = "HTTP/1.1", host: str = "Host: h") -> bytes:
    return "\r\n".join([f"GET {target} {version}", *([host] if host else []), *fields, "", ""]).encode()


class Admin(unittest.TestCase):
    def test_paths(self):
        with Server() as server:
            self.assertEqual(server.admin("/healthz"), (200, "ok\n"))
            self.assertEqual(server.admin("/readyz"), (200, "ready\n"))
            self.assertEqual(server.admin("/nothing")[0], 404)

    def test_stats_count(self):
        with Server("--threads=2", "--rearm=eager") as server:
            for _ in range(5):
                exchange(server, GET * 2)
            stats = server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual((stats["requests"], stats["responses"]), (10, 10))
            self.assertEqual(stats["connections"]["accepted"], 5)
            self.assertEqual(stats["connections"]["closed"]["client"], 5)
            self.assertGreater(stats["bytes_out"], 0)
            timers = stats["timers"]
            self.assertEqual(timers["armed"], timers["disarmed"] + timers["expired"])
            self.assertEqual(timers["moved"], timers["armed"] + timers["rearmed"])
            self.assertGreater(stats["cpu_ns"], 0)
            self.assertGreater(stats["mono_ns"], 0)

    def test_lazy_moves_less_than_eager(self):
        moved = {}
        for rearm in ("lazy", "eager"):
            with Server("--rearm", rearm) as server:
                with server.connect() as client:
                    for _ in range(50):
                        client.sendall(GET)
                        client.recv(65536)
                    moved[rearm] = server.stats()["timers"]["moved"]
        self.assertLessEqual(moved["lazy"], 3)  # the idle, request and linger timeouts at most
        self.assertGreaterEqual(moved["eager"], 150)

    def test_metrics_are_prometheus_text(self):
        with Server() as server:
            exchange(server, GET)
            status, text = server.admin("/metrics")
            self.assertEqual(status, 200)
            self.assertRegex(text, r"(?m)^idlewheel_requests_total\{.*\} 1$")
            for histogram in ("timer_lateness", "loop_stall"):
                self.assertRegex(text, rf'(?m)^idlewheel_{histogram}_seconds_bucket\{{.*le="\+Inf"')
            self.assertRegex(text, r'(?m)^idlewheel_timer_operations_total\{.*operation="armed".*\} ')

    @needs("promtool")
    def test_promtool_finds_nothing_wrong_with_the_metrics(self):
        for flags in ((), ("--threads=2", "--timer-backend=asio", "--access-log=/dev/null")):
            with self.subTest(flags=flags), Server(*flags) as server:
                exchange(server, GET + b"nonsense\r\n\r\n")
                _, text = server.admin("/metrics")
                checked = subprocess.run(["promtool", "check", "metrics"], input=text,
                                         capture_output=True, text=True)
                self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_a_stalled_loop_shows(self):
        with Server() as server:
            limit = time.monotonic() + PATIENCE_S
            stalled = 0.0
            while stalled < 0.2 and time.monotonic() < limit:
                exchange(server, GET)  # starts the loop probe, which runs for 100 ms
                server.process.send_signal(signal.SIGSTOP)
                time.sleep(0.5)
                server.process.send_signal(signal.SIGCONT)
                _, text = server.admin("/metrics")
                stalled = float(re.search(r"(?m)^idlewheel_loop_stall_seconds_sum\S* (\S+)$", text)[1])
            self.assertGreater(stalled, 0.2)

    def test_figures_are_taken_after_the_request_for_them(self):
        """Also when several ask at the same time, and all of them before an earlier one is answered."""
        with Server("--threads=3") as server:
            for expected in range(1, 20):
                exchange(server, GET)
                clients = [connect_admin(server) for _ in range(5)]
                for client in clients:
                    client.sendall(get("/stats"))
                for client in clients:
                    with client:
                        body = client.recv(65536).partition(b"\r\n\r\n")[2]
                        self.assertEqual(json.loads(body)["requests"], expected)

    def test_there_is_none_by_default(self):
        process = subprocess.Popen([testing.BINARY, "--port=0"], stdout=subprocess.PIPE, text=True)
        try:
            self.assertNotIn("admin=", process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(PATIENCE_S), 0)
            process.stdout.close()


class AsStrictAsTheMainPort(unittest.TestCase):
    """The same parser and the same connections serve both ports. The samples show that it is so."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.__exit__, None)

    def exchange(self, request: bytes) -> bytes:
        """All that comes back until the server closes; a reset is an error."""
        with connect_admin(self.server) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return read_to_end(client)

    def statuses(self, request: bytes) -> list[int]:
        return [response.status for response in split_responses(self.exchange(request))]

    def test_what_is_refused(self):
        stats = get("/stats")
        for request, status in (
            (b"nonsense\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01", 400),
            (get("/healthz", host=""), 400),
            (get("/healthz", "Host: i"), 400),
            (get("/healthz", host="Host: a b"), 400),
            (get("/healthz", host="Host: [x]"), 400),
            (get("/healthz", "Transfer-Encoding: gzip"), 400),
            (get("/healthz", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
            (get("/healthz", "Transfer-Encoding: chunked", "Content-Length: 0") + b"0\r\n\r\n", 400),
            (get("/healthz", "Content-Length: 1", "Content-Length: 1"), 400),
            (get("/healthz", "Content-Length: +0"), 400),
            (get("/stats", "Content-Length: 3") + b"abc", 413),
            (get("/stats", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n", 413),
            (get("/healthz", "Expect: something"), 417),
            (get("/healthz", "A : b"), 400),
            (get("/healthz", " folded"), 400),
            (get("/healthz", version="HTTP/2.0"), 505),
            (get("/healthz", version="http/1.1"), 400),
            (get("/%zz"), 400),
            (stats.replace(b"GET", b"BREW"), 501),
            (stats.replace(b"GET /stats", b"CONNECT h:80"), 501),
            (get("/healthz", "A: " + "x" * 20_000), 431),
            (get("/healthz", *(f"A{i}: b" for i in range(200))), 431),
            (get("/" + "x" * 20_000), 414),
        ):
            with self.subTest(request=request[:70]):
                self.assertEqual(self.statuses(request + get("/healthz")), [status])

    def test_what_is_served(self):
        for request, *statuses in (
            (get("/healthz"), 200),
            (get("/healthz?x=1"), 200),
            (get("/%68ealthz"), 200),
            (get("http://h/healthz"), 200),
            (get("http://h:80/stats"), 200),
            (get("/healthz", version="HTTP/1.2"), 200),
            (get("/healthz", version="HTTP/1.0", host=""), 200),
            (b"\r\n\r\n" + get("/healthz") + b"\r\n" + get("/readyz"), 200, 200),
            (get("/healthz", "Content-Length: 0"), 200),
            (get("/healthz", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 200),
            (get("/healthz", "Connection: close") + get("/healthz"), 200),
            (get("/stats") * 20, *[200] * 20),
            (get("/stats") + get("/nothing") + get("/metrics") + b"x y\r\n", 200, 404, 200, 400),
            (get("/"), 404),
            (get("/bytes/7"), 404),
            (get("/echo"), 404),
            (get("/stats").replace(b"GET", b"POST"), 405),
            (get("/stats").replace(b"GET", b"DELETE"), 405),
        ):
            with self.subTest(request=request[:70]):
                self.assertEqual(self.statuses(request), statuses)

    def test_the_fields_of_every_answer(self):
        for target, status, content_type in (
            ("/healthz", 200, "text/plain"), ("/readyz", 200, "text/plain"),
            ("/stats", 200, "application/json"), ("/metrics", 200, "text/plain; version=0.0.4"),
            ("/nothing", 404, None)):
            with self.subTest(target=target):
                (response,) = split_responses(self.exchange(get(target)))
                self.assertEqual(response.status, status)
                self.assertEqual(response.fields.get("content-type"), content_type)
                self.assertEqual(response.fields.get("x-content-type-options"),
                                 content_type and "nosniff")
                self.assertRegex(response.fields["date"], r"^\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$")
                self.assertEqual(int(response.fields["content-length"]), len(response.body))

    def test_head_has_the_fields_of_get_and_no_body(self):
        for target in ("/healthz", "/metrics"):
            whole = get(target).replace(b"GET", b"HEAD") + get("/healthz")
            head, after = split_responses(self.exchange(whole), heads=1)
            self.assertGreater(int(head.fields["content-length"]), 0)
            self.assertEqual(after.body, b"ok\n")

    def test_options_and_other_methods_are_told_what_is_allowed(self):
        whole = [(target, b"OPTIONS", 200) for target in ("*", "/", "/?q", "http://h", "http://h/")]
        parts = [(target, method, status) for target in ("/healthz", "/stats", "http://h/metrics")
                 for method, status in ((b"OPTIONS", 200), (b"DELETE", 405))]
        for target, method, status in whole + parts:
            with self.subTest(target=target, method=method):
                request = get(target).replace(b"GET", method)
                (response,) = split_responses(self.exchange(request))
                self.assertEqual((response.status, response.fields["allow"]),
                                 (status, "GET, HEAD, OPTIONS"))

    def test_the_health_check_that_load_balancers_bring_with_them(self):
        (response,) = split_responses(self.exchange(b"OPTIONS / HTTP/1.0\r\n\r\n"))
        self.assertEqual((response.status, response.fields["allow"]), (200, "GET, HEAD, OPTIONS"))

    def test_http_1_0_closes_unless_keep_alive_is_asked_for(self):
        old = get("/healthz", version="HTTP/1.0")
        kept = get("/stats", "Connection: keep-alive", version="HTTP/1.0")
        self.assertEqual(self.statuses(old + old), [200])
        responses = split_responses(self.exchange(kept + old))
        self.assertEqual([r.fields["connection"] for r in responses], ["keep-alive", "close"])

    def test_a_request_in_pieces(self):
        for request in (get("/stats"), get("/healthz", "Connection: close")):
            with connect_admin(self.server) as client:
                for at in range(len(request)):
                    client.sendall(request[at:at + 1])
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n"))

    def test_a_refusal_can_be_read_by_a_client_that_goes_on_sending(self):
        with connect_admin(self.server) as client:
            client.sendall(get("/stats", "Content-Length: 3000000"))
            for _ in range(30):
                client.sendall(b"x" * 100_000)
            client.shutdown(socket.SHUT_WR)
            (response,) = split_responses(read_to_end(client))
            self.assertEqual((response.status, response.fields["connection"]), (413, "close"))

    def test_a_scrape_leaves_no_trace_in_the_figures_of_the_main_port(self):
        before = self.server.stats()
        self.exchange(get("/healthz") * 10)
        after = self.server.stats()
        self.assertEqual((before["requests"], before["connections"]),
                         (after["requests"], after["connections"]))


class Room(unittest.TestCase):
    """Whoever holds connections to the admin listener must not shut out a health check."""

    def assert_healthy(self, server: Server):
        self.assertEqual(server.admin("/healthz"), (200, "ok\n"))

    def is_open(self, client: socket.socket) -> bool:
        client.setblocking(False)
        try:
            return client.recv(65536) != b""
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False

    def hold(self, stack: contextlib.ExitStack, server: Server, number: int, *sent: bytes) -> list:
        clients = []
        for i in range(number):
            clients.append(stack.enter_context(connect_admin(server)))
            if sent:
                clients[-1].sendall(sent[i % len(sent)])
        return clients

    def test_idle_connections_make_room(self):
        for number in (MOST_CONNECTIONS - 1, MOST_CONNECTIONS, MOST_CONNECTIONS + 1, 100, 500):
            with self.subTest(number=number), Server() as server, contextlib.ExitStack() as stack:
                clients = self.hold(stack, server, number)
                for _ in range(3):
                    self.assert_healthy(server)
                opened = [self.is_open(client) for client in clients]
                left = min(number, MOST_CONNECTIONS - 1)
                self.assertEqual(opened, [False] * (number - left) + [True] * left)

    def test_the_one_that_is_idle_for_longest_makes_room(self):
        with Server() as server, contextlib.ExitStack() as stack:
            clients = self.hold(stack, server, MOST_CONNECTIONS)
            time.sleep(0.1)  # the kernel's clock of a connection is coarse
            clients[0].sendall(get("/healthz"))
            self.assertTrue(clients[0].recv(65536).startswith(b"HTTP/1.1 200"))
            self.assert_healthy(server)
            self.assertEqual([self.is_open(client) for client in clients[:3]], [True, False, True])

    def test_half_requests_make_room_but_not_before_idle_connections(self):
        for half in (b"G", get("/healthz")[:-2], get("/stats", "Content-Length: 3")[:-1]):
            with self.subTest(half=half), Server() as server, contextlib.ExitStack() as stack:
                unfinished = self.hold(stack, server, MOST_CONNECTIONS - 1, half)
                (idle,) = self.hold(stack, server, 1)
                self.assert_healthy(server)
                self.assertFalse(self.is_open(idle))
                self.assertTrue(all(self.is_open(client) for client in unfinished))
                unfinished += self.hold(stack, server, 70, half)
                for _ in range(3):
                    self.assert_healthy(server)
                self.assertTrue(self.is_open(unfinished[-1]))
                self.assertFalse(self.is_open(unfinished[0]))

    def test_clients_that_do_not_read_make_room(self):
        with Server() as server, contextlib.ExitStack() as stack:
            self.hold(stack, server, 2 * MOST_CONNECTIONS, get("/metrics") * 200)
            self.assert_healthy(server)

    def test_lingering_connections_make_room(self):
        with Server() as server, contextlib.ExitStack() as stack:
            self.hold(stack, server, 3 * MOST_CONNECTIONS, b"nonsense\r\n\r\n")
            self.assert_healthy(server)

    def test_without_descriptors_every_idle_connection_makes_room_at_once(self):
        """So many pauses of a second would be longer than the patience of this test."""
        with Server() as server, contextlib.ExitStack() as stack:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, hard))
            for _ in range(60):
                stack.enter_context(server.connect())
            wait_for(lambda: re.search(r"(?m)^idlewheel_accept_errors_total\S* [^0]",
                                       server.admin("/metrics")[1]))
            self.hold(stack, server, 3 * PATIENCE_S)
            self.assert_healthy(server)
            server.stop()
            self.assertNotIn("the admin listener cannot accept", server.errors)


class Drain(unittest.TestCase):
    @contextlib.contextmanager
    def asleep(self, server: Server):
        """What happens meanwhile happens for the server at the same time, and then it drains."""
        server.process.send_signal(signal.SIGSTOP)
        yield
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)

    def test_requests_that_came_before_the_signal_are_answered(self):
        """On connections that are open, and on those that wait to be accepted, however many."""
        for threads in (1, 2, 8):
            for target in ("/metrics", "/stats", "/healthz"):
                with self.subTest(threads=threads, target=target), \
                        Server(f"--threads={threads}") as server, contextlib.ExitStack() as stack:
                    clients = [stack.enter_context(connect_admin(server)) for _ in range(10)]
                    for client in clients:
                        client.sendall(get("/healthz"))
                        client.recv(65536)
                    with self.asleep(server):
                        clients += [stack.enter_context(connect_admin(server)) for _ in range(40)]
                        for client in clients:
                            client.sendall(get(target))
                    for client in clients:
                        (response,) = split_responses(read_to_end(client))
                        client.close()
                        self.assertEqual(response.status, 200)

    def test_every_request_of_a_batch_is_answered(self):
        with Server("--threads=2") as server, connect_admin(server) as client:
            with self.asleep(server):
                client.sendall((get("/metrics") + get("/stats") + get("/healthz")) * 20)
            responses = split_responses(read_to_end(client))
            self.assertEqual([r.status for r in responses], [200] * 60)
            self.assertEqual([r.fields.get("connection") for r in responses[:-1]], [None] * 59)

    def test_an_answer_during_the_drain_closes_its_connection(self):
        with Server("--drain-timeout=1h", "--linger-timeout=0s") as server, \
                server.connect() as straggler, connect_admin(server) as kept:
            straggler.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.begin_drain()
            for client in (kept, connect_admin(server)):
                with client:
                    client.sendall(get("/metrics"))
                    (response,) = split_responses(read_to_end(client))
                    self.assertEqual(response.status, 200)
                    self.assertEqual(response.fields["connection"], "close")
            straggler.sendall(GET[10:])
            self.assertEqual(len(split_responses(read_to_end(straggler))), 1)

    def test_an_idle_connection_is_closed_and_a_late_request_is_not_reset(self):
        with Server() as server, connect_admin(server) as idle:
            idle.sendall(get("/healthz"))
            idle.recv(65536)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(idle.recv(65536), b"")
            idle.sendall(get("/healthz"))
            self.assertEqual(idle.recv(65536), b"")

    def test_a_half_request_has_the_time_of_the_drain(self):
        with Server("--drain-timeout=1h") as server, connect_admin(server) as late:
            late.sendall(get("/metrics")[:-1])
            self.assertEqual(server.admin("/healthz")[0], 200)  # so the other one was accepted
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaises(OSError):
                while True:
                    connect_admin(server).close()  # until it drains
            late.sendall(b"\n")
            (response,) = split_responses(read_to_end(late))
            self.assertEqual((response.status, response.fields["connection"]), (200, "close"))

    def test_it_waits_no_longer_than_the_drain_timeout_or_a_second_signal(self):
        for timeout, signals in (("0s", 1), ("100ms", 1), ("1h", 2)):
            with self.subTest(timeout=timeout), Server(f"--drain-timeout={timeout}") as server, \
                    connect_admin(server) as half, connect_admin(server) as no_reader:
                half.sendall(b"G")
                no_reader.sendall(get("/metrics") * 1000)
                for _ in range(signals - 1):
                    server.process.send_signal(signal.SIGTERM)
                    with self.assertRaises(OSError):
                        while True:
                            connect_admin(server).close()
                self.assertEqual(server.stop(), 0)

    def test_it_ends_with_connections_in_every_state(self):
        for _ in range(3):
            with Server("--threads=2", "--drain-timeout=100ms") as server, \
                    contextlib.ExitStack() as stack:
                for sent in 5 * (b"", b"G", b"nonsense\r\n\r\n", get("/stats"),
                                 get("/metrics") * 200):
                    stack.enter_context(connect_admin(server)).sendall(sent)
                self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
