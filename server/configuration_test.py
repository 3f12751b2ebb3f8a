"""SIGHUP reads the file of --config again: what changes while the server runs, and what does not."""

import contextlib
import os
import re
import signal
import tempfile
import threading
import time
import unittest

from testing import (GET, LOG_LINE, PATIENCE_S, Server, ServiceManager, exchange, lines_of, post,
                     read_to_end, run, split_responses, wait_for)


class Reload(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.file = os.path.join(self.folder, "server.conf")
        self.manager = ServiceManager()
        self.addCleanup(self.manager.__exit__)

    def write(self, *lines: str):
        with open(self.file, "w") as file:
            file.writelines(line + "\n" for line in lines)

    @contextlib.contextmanager
    def serving(self, *lines: str, flags: tuple[str, ...] = ()):
        self.write(*lines)
        with Server("--config", self.file, *flags, environment=self.manager.environment) as server:
            self.manager.wait_for("READY")
            yield server

    def reload(self, server: Server, *lines: str) -> str:
        """Returns once every thread has the new configuration, with the first line of the log."""
        self.change(server, *lines)
        return server.process.stderr.readline()

    def change(self, server: Server, *lines: str):
        self.write(*lines)
        self.read_again(server)

    def read_again(self, server: Server):
        server.process.send_signal(signal.SIGHUP)
        self.manager.wait_for("RELOADING")
        self.manager.wait_for("READY")

    def test_limits_hold_for_the_next_request_on_every_thread(self):
        with self.serving("max-body-bytes = 10", flags=("--threads=3",)) as server:
            with server.connect() as kept:
                self.assertIn("changed: max-headers, max-body-bytes",
                              self.reload(server, "max-body-bytes = 100", "max-headers = 2"))
                kept.sendall(post("Content-Length: 100", body=b"x" * 100))
                self.assertTrue(kept.recv(65536).startswith(b"HTTP/1.1 200"))
            for _ in range(20):  # the kernel spreads them over the threads
                (refused,) = split_responses(exchange(
                    server, post("Content-Length: 101", body=b"x" * 101)))
                self.assertEqual(refused.status, 413)
                (refused,) = split_responses(exchange(server, post("A: b", "C: d")))
                self.assertEqual(refused.status, 431)

    def test_the_number_of_connections(self):
        with self.serving() as server:
            self.change(server, "max-connections = 1")
            with server.connect() as first, server.connect() as second:
                self.assertTrue(read_to_end(second).startswith(b"HTTP/1.1 503"))
                self.change(server)
                with server.connect() as third:
                    for client in (first, third):
                        client.sendall(GET)
                        self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_the_idle_timeout_holds_for_connections_that_are_idle_already(self):
        for before in ("0s", "1h"):
            with self.subTest(before=before), \
                    self.serving(f"idle-timeout = {before}", "linger-timeout = 0s") as server, \
                    server.connect() as silent, server.connect() as served:
                served.sendall(GET)
                served.recv(65536)
                server.wait_for_stats(lambda s: s["connections"]["open"] == 2)
                self.change(server, "idle-timeout = 200ms", "linger-timeout = 0s")
                self.assertEqual((read_to_end(silent), read_to_end(served)), (b"", b""))
                self.assertEqual(server.stats()["connections"]["closed"]["idle"], 2)

    def test_an_idle_timeout_that_is_turned_off(self):
        with self.serving("idle-timeout = 1h") as server, server.connect():
            server.wait_for_stats(lambda s: s["timers"]["live"] == 1)
            self.change(server, "idle-timeout = 0s")
            self.assertEqual(server.stats()["timers"]["live"], 0)

    def test_another_change_leaves_idle_connections_alone(self):
        with self.serving() as server, server.connect():
            before = server.wait_for_stats(lambda s: s["timers"]["live"] == 1)
            self.change(server, "request-timeout = 7s")
            self.assertEqual(server.stats()["timers"]["rearmed"], before["timers"]["rearmed"])

    def test_the_request_timeout_holds_for_the_next_request(self):
        with self.serving("request-timeout = 1h") as server, server.connect() as client:
            client.sendall(GET)
            client.recv(65536)
            self.change(server, "request-timeout = 200ms")
            client.sendall(GET[:10])
            (response,) = split_responses(read_to_end(client))
            self.assertEqual(response.status, 408)

    def test_the_drain_timeout(self):
        with self.serving("drain-timeout = 1h") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            self.change(server, "drain-timeout = 100ms")
            self.assertEqual(server.stop(), 0)

    def test_the_log_level_and_the_change_itself_is_logged(self):
        with self.serving("log-level = error") as server:
            self.assertIn("changed: log-level", self.reload(server, "log-level = info"))
            server.process.send_signal(signal.SIGUSR1)
            self.assertIn("the access log is off", server.process.stderr.readline())
            self.assertIn("changed: log-level", self.reload(server, "log-level = error"))
            server.process.send_signal(signal.SIGUSR1)
            server.stop()
            self.assertEqual(server.errors, "")

    def test_the_access_log_is_turned_on_moved_and_turned_off(self):
        first, second = (os.path.join(self.folder, name) for name in ("first", "second"))
        with self.serving(flags=("--threads=2",)) as server, server.connect() as client:
            client.sendall(GET[:10])  # nobody knew then that it would be logged
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            self.change(server, f"access-log = {first}")
            client.sendall(GET[10:])
            client.recv(65536)
            exchange(server, GET)
            self.change(server, f"access-log = {second}")  # writes the lines that are gathered
            self.assertEqual(len(lines_of(first)), 2)
            for line in lines_of(first):
                self.assertRegex(re.sub("Z - ", "Z 127.0.0.1:1 ", line), LOG_LINE)
            exchange(server, GET)
            self.change(server, "access-log = off")
            self.assertEqual(len(lines_of(second)), 1)
            exchange(server, GET)
        self.assertEqual((len(lines_of(first)), len(lines_of(second))), (2, 1))

    def test_the_access_log_is_reopened_whether_the_file_is_good_or_not(self):
        log = os.path.join(self.folder, "log")
        with self.serving(flags=("--access-log", log)) as server:
            for line in ("max-headers = 50", "nonsense"):
                os.rename(log, log + ".1")
                self.reload(server, line)
                self.assertTrue(os.path.exists(log), line)
                self.assertIn("reopened", server.process.stderr.readline())

    def test_an_access_log_that_cannot_be_opened_changes_nothing(self):
        log = os.path.join(self.folder, "log")
        for name, wrong in ((self.folder, "cannot open"), ("/dev/fd/0", "not open for writing"),
                            ("/dev/stderr", "needs a restart")):
            with self.subTest(name=name), self.serving(f"access-log = {log}") as server:
                self.assertIn(wrong, self.reload(server, f"access-log = {name}", "max-headers = 2"))
                (response,) = split_responses(exchange(server, post("A: b", "C: d",
                                                                    "Connection: close")))
                self.assertEqual(response.status, 200)
            self.assertEqual(len(lines_of(log)), 1)
            os.remove(log)

    def test_what_needs_a_restart_is_named_and_the_rest_changes(self):
        with self.serving() as server:
            self.assertIn("changed: max-headers",
                          self.reload(server, "port = 1", "threads = 7", "max-headers = 50"))
            line = server.process.stderr.readline()
            self.assertIn("these keep their values until a restart: threads\n", line)
            self.assertIn("[warning]", line)
            self.assertTrue(exchange(server, GET).startswith(b"HTTP/1.1 200"))

    def test_the_command_line_overrules_the_file_again(self):
        with self.serving("max-headers = 5", flags=("--max-headers=6",)) as server:
            self.assertIn("nothing changes", self.reload(server, "max-headers = 2"))

    def test_a_broken_file_changes_nothing_until_it_is_good_again(self):
        def successful() -> str:
            name = "idlewheel_config_last_reload_successful"
            return re.search(rf"(?m)^{name}\S* (\d)$", server.admin("/metrics")[1])[1]

        with self.serving("max-headers = 5") as server:
            self.assertEqual(successful(), "1")
            for line, wrong in (("max-headers = many", "'many'"), ("frobnicate = 1", "frobnicate"),
                                ("scenario = mixed\ntimer-backend = none", "--scenario")):
                with self.subTest(line):
                    told = self.reload(server, "max-body-bytes = 1", line)
                    self.assertIn("[error]", told)
                    self.assertIn(wrong, told)
                    self.assertIn("the configuration in use stays", told)
                    self.assertEqual(successful(), "0")
                    (response,) = split_responses(exchange(
                        server, post("Content-Length: 2", body=b"xx")))
                    self.assertEqual(response.status, 200)
            self.change(server, "max-body-bytes = 1")
            self.assertEqual(successful(), "1")

    def test_a_file_that_is_none_any_more_changes_nothing_and_is_not_waited_for(self):
        def pipe():
            os.remove(self.file)
            os.mkfifo(self.file)

        def large():
            os.rmdir(self.file)
            self.write("# " + "x" * 1024 * 1024)

        with self.serving() as server:
            for change, wrong in ((pipe, "no regular file"), (lambda: os.remove(self.file), "No such"),
                                  (lambda: os.mkdir(self.file), "no regular file"), (large, "1 MiB")):
                change()
                self.read_again(server)
                self.assertIn(wrong, server.process.stderr.readline())
                self.assertTrue(exchange(server, GET).startswith(b"HTTP/1.1 200"))

    def test_requests_are_served_meanwhile(self):
        failures = []
        over = threading.Event()

        def load(server: Server):
            with server.connect() as client:
                while not over.is_set():
                    client.sendall(GET)
                    if not client.recv(65536).startswith(b"HTTP/1.1 200"):
                        failures.append("no answer")
                        return

        with self.serving(flags=("--threads=2",)) as server:
            clients = [threading.Thread(target=load, args=(server,)) for _ in range(4)]
            for client in clients:
                client.start()
            try:
                for number in range(20):
                    self.change(server, f"idle-timeout = {number % 2}h", f"max-headers = {number + 50}",
                                f"access-log = {self.folder}/{number % 3}")
            finally:
                over.set()
                for client in clients:
                    client.join()
            self.assertEqual(failures, [])

    def test_many_signals_at_once_end_with_the_latest_file(self):
        with self.serving(flags=("--threads=2",)) as server:
            for number in range(20):
                self.write(f"max-body-bytes = {number}")
                server.process.send_signal(signal.SIGHUP)
            limit = time.monotonic() + PATIENCE_S
            wait_for(lambda: time.monotonic() > limit or [413, 200] == [
                split_responses(exchange(server, post(f"Content-Length: {size}", body=b"x" * size)))[0]
                .status for size in (20, 19)])

    def test_without_a_file_the_log_alone_is_reopened(self):
        with Server(environment=self.manager.environment) as server:
            self.manager.wait_for("READY")
            server.process.send_signal(signal.SIGHUP)
            self.assertIn("the access log is off", server.process.stderr.readline())
            server.process.send_signal(signal.SIGTERM)
            self.assertIn("STOPPING", self.manager.message())


class Check(unittest.TestCase):
    """--check-config, which a service manager can ask before it asks for a reload."""

    def test_it_says_whether_the_file_is_good_and_starts_nothing(self):
        with tempfile.NamedTemporaryFile("w") as config:
            config.write("threads = 2\n")
            config.flush()
            good = run("--config", config.name, "--check-config")
            self.assertEqual((good.returncode, good.stdout, good.stderr), (0, "", ""))
            config.seek(0)
            config.write("threads = two\n")
            config.flush()
            bad = run("--config", config.name, "--check-config")
            self.assertEqual((bad.returncode, bad.stdout), (2, ""))
            self.assertRegex(bad.stderr, rf"^idlewheel-server: {config.name}: .*'two'.*\n$")


if __name__ == "__main__":
    unittest.main()
