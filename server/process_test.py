"""The process: flags, configuration file, exit codes, ready line, limits, signals."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import testing
from testing import GET, PATIENCE_S, Server, exchange, read_to_end, run, split_responses


def has_ipv6() -> bool:
    """Whether this machine has the loopback address of IPv6. The sockets may exist without it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class Flags(unittest.TestCase):
    def assert_usage_error(self, *flags: str) -> str:
        ended = run(*flags)
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
        return ended.stderr

    def test_an_unknown_backend_is_told_the_names(self):
        line = self.assert_usage_error("--timer-backend", "sundial")
        for name in [*testing.backends(), "none"]:
            self.assertIn(name, line)

    def test_bad_values(self):
        for flag, *values in (
            ("--idle-timeout", "abc", "5", "-1s", "1.5s", "10 s", "999999999999", ""),
            ("--tick", "0", "0ms"),
            ("--port", "99999", "-1", "http", "1.5"),
            ("--threads", "0"),
            ("--address", "localhost", "1.2.3"),
            ("--rearm", "sometimes"),
            ("--scenario", "tragedy"),
            ("--mixed-period", "0"),
            ("--write-window-bytes", "-1", "1XB"),
            ("--write-window-time", "5", "x"),
            ("--write-window-responses", "-1", "1KiB"),
            ("--max-headers", "0"),
            ("--log-level", "loud"),
        ):
            for value in values:
                with self.subTest(flag=flag, value=value):
                    self.assertIn(flag, self.assert_usage_error(f"{flag}={value}"))

    def test_a_trace_that_fails_is_reported_without_control_characters(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = os.path.join(folder, "a\n\x1b[31mb")
            os.symlink("/dev/full", trace)
            with Server("--timer-trace", trace) as server:
                exchange(server, GET)
            self.assertIn("a??[31mb: the trace is cut short", server.errors)

    def test_control_characters_are_not_echoed(self):
        for value in ("1\n2", "\x1b[31m"):
            self.assertNotRegex(self.assert_usage_error("--tick", value).rstrip("\n"), r"[\x00-\x1f]")

    def test_unknown_flags(self):
        self.assert_usage_error("--frobnicate")

    def test_scenarios_that_none_cannot_serve(self):
        self.assert_usage_error("--timer-backend=none", "--scenario=mixed")

    def test_the_list_of_backends(self):
        ended = run("--list-timer-backends")
        rows = [line.split("\t") for line in ended.stdout.splitlines()]
        self.assertEqual(ended.returncode, 0)
        self.assertTrue(all(len(row) == 3 and all(row) for row in rows), rows)
        self.assertLessEqual({"ordered-list", "unordered-list", "binary-heap", "hierarchical-wheel",
                              "asio", "none"}, {row[0] for row in rows})

    def test_help_and_version(self):
        self.assertIn("--idle-timeout", run("--help").stdout)
        self.assertRegex(run("--version").stdout, r"^idlewheel-server \d+\.\d+\.\d+ "
                         r"\(commit ([0-9a-f]{40}(-dirty)?|unknown)\)\n$")


class Config(unittest.TestCase):
    def file(self, text: str) -> str:
        file = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        return file.name

    def test_every_flag_may_stand_in_a_file_and_what_is_typed_counts(self):
        file = self.file('# a comment\ntimer-backend = "binary-heap"\nthreads = 3\nrearm = eager\n'
                         "reuse-port = true\nidle-timeout = 5s\naddress = 127.0.0.1\n")
        with Server("--config", file, "--threads=2") as server:
            self.assertEqual((server.ready["backend"], server.ready["rearm"], server.ready["threads"]),
                             ("binary-heap", "eager", "2"))

    def test_what_is_wrong_names_the_file_and_the_key(self):
        for text, key in (("threads = 0\n", "threads"), ("idle-timeout = 5\n", "idle-timeout"),
                          ("frobnicate = 1\n", "frobnicate"), ("[a]\nport = 1\n", "[a]"), ("[b]\n", "[b]"),
                          ("help = true\n", "help"), ("config = x\n", "config"),
                          ("timer-backend = sundial\n", "sundial"), ("port = [1, 2]\n", "port"),
                          ("port=[99999\n", "port"), ("++ = 1\n", "++"), ("=1\n", "=1"),
                          ("# fine\n\n]\n", "line 3"), ("[default]\nport = 1\n", "[default]"),
                          ("port\n", "port"), ("port =\n", "port"), ("....=1\n", "...")):
            with self.subTest(text=text):
                file = self.file(text)
                ended = run("--config", file)
                self.assertEqual((ended.returncode, ended.stdout), (2, ""))
                self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
                self.assertIn(file, ended.stderr)
                self.assertIn(key, ended.stderr)

    def test_a_file_that_cannot_be_read(self):
        for file in ("/nothing/here", "/tmp", "/proc/self/mem", ""):
            with self.subTest(file=file):
                ended = run("--config", file)
                self.assertEqual((ended.returncode, ended.stderr.count("\n")), (2, 1), ended.stderr)
                self.assertIn(file or "--config", ended.stderr)


class Start(unittest.TestCase):
    def test_the_ready_line(self):
        with Server("--timer-backend=binary-heap", "--rearm=eager", "--threads=2") as server:
            self.assertEqual(server.ready["host"], "127.0.0.1")
            self.assertEqual(server.ready["admin_host"], "127.0.0.1")
            self.assertEqual(server.ready["backend"], "binary-heap")
            self.assertEqual(server.ready["rearm"], "eager")
            self.assertEqual(server.ready["threads"], "2")

    def test_a_port_in_use_is_a_failure(self):
        for threads in ("1", "2"):
            with Server() as server:
                ended = run("--port", str(server.port), "--threads", threads)
                self.assertEqual((ended.returncode, ended.stdout), (1, ""))
                self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
                self.assertIn(f"cannot listen on 127.0.0.1:{server.port}: Address already in use",
                              ended.stderr)

    def test_reuse_port_shares_it(self):
        with Server("--reuse-port") as first:
            second = subprocess.Popen(
                [testing.BINARY, "--port", str(first.port), "--reuse-port"],
                stdout=subprocess.PIPE, text=True)
            try:
                self.assertIn(str(first.port), second.stdout.readline())
            finally:
                second.send_signal(signal.SIGTERM)
                self.assertEqual(second.wait(PATIENCE_S), 0)
                second.stdout.close()

    def test_a_duration_that_nanoseconds_cannot_hold_never_ends(self):
        for backend in ("hierarchical-wheel", "asio"):
            with Server(f"--timer-backend={backend}", "--idle-timeout=2562048h",
                        "--request-timeout=999999999999h", "--linger-timeout=9999999999999999s",
                        "--drain-timeout=99999999999999999999h") as server:
                with server.connect() as idle, server.connect() as busy:
                    idle.sendall(GET)
                    self.assertTrue(idle.recv(65536).startswith(b"HTTP/1.1 200"))
                    busy.sendall(GET[:5])  # a request that has begun
                    stats = server.wait_for_stats(lambda stats: stats["timers"]["armed"] >= 3)
                    self.assertEqual(stats["connections"]["open"], 2)
                    busy.sendall(GET[5:])
                    self.assertTrue(busy.recv(65536).startswith(b"HTTP/1.1 200"))
                    self.assertEqual(server.stats()["timers"]["expired"], 0)

    def test_ipv6(self):
        """Without IPv6, as in Docker's default network, the server says so and ends."""
        if not has_ipv6():
            ended = run("--port=0", "--address=::1")
            self.assertEqual((ended.returncode, ended.stdout), (1, ""))
            self.assertRegex(ended.stderr, r"^idlewheel-server: cannot listen on \[::1\]:0: .+\n$")
            return
        with Server("--address=::1") as server:
            self.assertEqual(server.ready["host"], "[::1]")
            with socket.create_connection(("::1", server.port), timeout=PATIENCE_S) as client:
                client.sendall(GET)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))


class Limits(unittest.TestCase):
    def test_one_connection_too_many_is_answered_503(self):
        with Server("--max-connections=2") as server:
            with server.connect() as one, server.connect() as two:
                for client in (one, two):
                    client.sendall(GET)
                    self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                with server.connect() as third:
                    (response,) = split_responses(read_to_end(third))
                    self.assertEqual((response.status, response.fields["connection"]), (503, "close"))
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
            self.assertEqual(server.stats()["connections"]["closed"]["limit"], 1)
            self.assertEqual(len(split_responses(exchange(server, GET))), 1)

    def test_one_turned_away_takes_no_place_while_it_lingers(self):
        with Server("--max-connections=1", "--linger-timeout=1h", "--drain-timeout=0s") as server:
            with server.connect() as one, server.connect() as lingering:
                self.assertEqual(split_responses(read_to_end(lingering))[0].status, 503)
                one.close()
                server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
                with server.connect() as next_one:
                    next_one.sendall(GET)
                    self.assertTrue(next_one.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_out_of_descriptors_it_serves_on_and_recovers(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with Server() as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, hard))
            clients = [server.connect() for _ in range(60)]
            server_alive = clients[0]
            server_alive.sendall(GET)
            self.assertTrue(server_alive.recv(65536).startswith(b"HTTP/1.1 200"))
            before = server.stats()  # the admin listener keeps a spare descriptor
            time.sleep(1)
            after = server.stats()
            self.assertLess(after["cpu_ns"] - before["cpu_ns"],
                            0.05 * (after["mono_ns"] - before["mono_ns"]))
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
            clients[-1].sendall(GET)
            self.assertTrue(clients[-1].recv(65536).startswith(b"HTTP/1.1 200"))
            server.stop()
            self.assertIn(server.errors.count("cannot accept a connection"), (1, 2, 3), server.errors)
            for client in clients:
                client.close()


class Drain(unittest.TestCase):
    def test_every_state_ends_and_the_exit_code_is_0(self):
        for sent in (signal.SIGTERM, signal.SIGINT):
            with Server("--threads=2") as server:
                with server.connect() as idle, server.connect() as late:
                    late.sendall(GET[:10])
                    idle.sendall(GET)
                    idle.recv(65536)
                    server.wait_for_stats(lambda s: s["connections"]["open"] == 2)
                    server.process.send_signal(sent)
                    self.assertEqual(read_to_end(idle), b"")
                    late.sendall(GET[10:])
                    (response,) = split_responses(read_to_end(late))
                    self.assertEqual(response.fields["connection"], "close")
                self.assertEqual(server.process.wait(PATIENCE_S), 0)

    def test_it_accepts_no_more(self):
        with Server("--drain-timeout=1h") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.process.send_signal(signal.SIGTERM)
            limit = time.monotonic() + PATIENCE_S
            with self.assertRaises(ConnectionRefusedError):
                while time.monotonic() < limit:
                    server.connect().close()
                    time.sleep(0.01)
            client.sendall(GET[10:])
            self.assertEqual(len(split_responses(read_to_end(client))), 1)

    def test_connections_that_wait_to_be_accepted_are_served(self):
        for threads in (1, 2):
            with self.subTest(threads=threads), Server(f"--threads={threads}") as server, \
                    contextlib.ExitStack() as all_:
                server.process.send_signal(signal.SIGSTOP)
                clients = [all_.enter_context(server.connect()) for _ in range(20)]
                for client in clients:
                    client.sendall(GET)
                server.process.send_signal(signal.SIGTERM)
                server.process.send_signal(signal.SIGCONT)
                for client in clients:
                    self.assertEqual([r.status for r in split_responses(read_to_end(client))], [200])

    def test_every_request_of_a_batch_is_answered(self):
        with Server() as server, server.connect() as client:
            client.sendall(GET.replace(b"/ ", b"/bytes/3000000 ") + GET * 1000 + b"\r\n")
            server.wait_for_stats(lambda s: s["requests"] == 1)
            server.process.send_signal(signal.SIGTERM)
            responses = split_responses(read_to_end(client))
            self.assertEqual([len(r.body) for r in responses], [3_000_000] + [0] * 1000)

    def test_requests_that_came_before_the_signal_are_answered(self):
        """Even though the event loops see the requests and the signal at the same time."""
        for _ in range(10):
            with Server("--threads=4") as server, contextlib.ExitStack() as all_:
                clients = [all_.enter_context(server.connect()) for _ in range(50)]
                for client in clients:
                    client.sendall(GET)
                    client.recv(65536)
                server.process.send_signal(signal.SIGSTOP)
                for client in clients:
                    client.sendall(GET)
                server.process.send_signal(signal.SIGTERM)
                server.process.send_signal(signal.SIGCONT)
                for client in clients:
                    self.assertEqual(len(split_responses(read_to_end(client))), 1)

    def test_a_slow_reader_has_its_response_and_then_is_closed(self):
        with Server("--drain-timeout=1h", "--idle-timeout=1h") as server, server.connect() as client:
            client.sendall(b"GET /bytes/20000000 HTTP/1.1\r\nHost: h\r\n\r\n")
            server.wait_for_stats(lambda s: s["writes"] > 0)
            server.begin_drain()
            (response,) = split_responses(read_to_end(client))
            self.assertEqual(len(response.body), 20_000_000)
            self.assertEqual(server.process.wait(PATIENCE_S), 0)

    def test_counters_can_be_read_while_one_thread_of_several_has_finished(self):
        with Server("--drain-timeout=1h", "--threads=3") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.begin_drain()
            for _ in range(3):
                self.assertEqual(server.stats()["connections"]["open"], 1)
            client.sendall(GET[10:])
            self.assertEqual(len(split_responses(read_to_end(client))), 1)

    def test_stragglers_are_cut_at_the_drain_timeout(self):
        with Server("--drain-timeout=200ms") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            began = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertGreater(time.monotonic() - began, 0.15)

    def test_blank_lines_alone_are_no_request(self):
        with Server("--drain-timeout=1h", "--request-timeout=1h") as server:
            with server.connect() as client:
                client.sendall(b"\r\n")
                server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(read_to_end(client), b"")
            self.assertEqual(server.process.wait(PATIENCE_S), 0)

    def test_a_request_that_is_not_answered_ends_with_its_timeout(self):
        with Server("--scenario=mixed", "--mixed-period=1", "--drain-timeout=1h") as server:
            clients = [server.connect() for _ in range(100)]
            for client in clients:
                client.sendall(GET)
            server.wait_for_stats(lambda s: s["requests"] == 100)
            self.assertEqual(server.stop(), 0)
            for client in clients:
                with client:
                    self.assertEqual(read_to_end(client), b"")

    def test_one_that_lingers_is_waited_for_no_longer_than_that(self):
        with Server("--linger-timeout=300ms", "--drain-timeout=1h") as server:
            with server.connect() as client:
                client.sendall(b"nonsense\r\n\r\n")
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 400"))
                self.assertEqual(server.stop(), 0)

    def test_a_closed_log_holds_up_nothing(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        process = subprocess.Popen([testing.BINARY, "--port=0", "--timer-backend=none"],
                                   stdout=subprocess.PIPE, stderr=write_end, text=True)
        os.close(write_end)
        self.assertIn("listening", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE_S), 0)
        process.stdout.close()

    def test_a_full_log_pipe_holds_up_nothing(self):
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(write_end, b"." * 4096):
                pass
        os.set_blocking(write_end, True)
        process = subprocess.Popen([testing.BINARY, "--port=0", "--timer-backend=none"],
                                   stdout=subprocess.PIPE, stderr=write_end, text=True)
        try:
            self.assertIn("listening", process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(PATIENCE_S), 0)
            process.stdout.close()
            os.close(read_end)
            os.close(write_end)

    def test_a_second_signal_does_not_wait(self):
        with Server("--drain-timeout=1h") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.begin_drain()
            self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
