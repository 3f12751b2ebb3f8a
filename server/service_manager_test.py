"""What the server tells its service manager: when it serves, reloads, ends, and that it is alive."""

import contextlib
import ctypes
import os
import signal
import tempfile
import time
import unittest

from testing import GET, PATIENCE_S, Server, ServiceManager, exchange, read_to_end, run

SILENCE_S = 0.5  # nothing is heard for so long

# Of ptrace(2) and waitpid(2).
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000


@contextlib.contextmanager
def stopped(thread: int):
    """Stops one thread of another process. SIGSTOP would stop them all."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    if ptrace(PTRACE_SEIZE, thread, None, None) != 0:
        raise unittest.SkipTest(f"this machine forbids ptrace: {os.strerror(ctypes.get_errno())}")
    ptrace(PTRACE_INTERRUPT, thread, None, None)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH, thread, None, None)


class Notifications(unittest.TestCase):
    def server(self, manager: ServiceManager, *flags: str, **others) -> Server:
        return Server(*flags, environment=manager.environment, **others)

    def test_it_is_ready_when_it_serves(self):
        for abstract in (False, True):
            with self.subTest(abstract=abstract), ServiceManager(abstract) as manager, \
                    self.server(manager, "--threads=2") as server:
                message = manager.message()
                self.assertEqual(message["READY"], "1")
                self.assertEqual(message["STATUS"], f"serving on http://127.0.0.1:{server.port}")
                self.assertTrue(exchange(server, GET).startswith(b"HTTP/1.1 200"))

    def test_a_start_that_fails_is_never_ready(self):
        with ServiceManager() as manager:
            manager.socket.settimeout(0)
            os.environ.update(manager.environment)
            self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
            self.assertEqual(run("--port=0", "--address=192.0.2.1").returncode, 1)
            with self.assertRaises(BlockingIOError):
                manager.message()

    def test_a_reload_is_framed_and_has_its_time(self):
        with tempfile.NamedTemporaryFile("w") as config, ServiceManager() as manager, \
                self.server(manager, "--config", config.name, "--threads=2") as server:
            manager.wait_for("READY")
            for text, status in (("max-headers = 50\n", None), ("nonsense\n", "the last reload failed"),
                                 ("", None)):
                config.seek(0)
                config.truncate()
                config.write(text)
                config.flush()
                before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                server.process.send_signal(signal.SIGHUP)
                reloading = manager.message()
                self.assertEqual(reloading["RELOADING"], "1")
                self.assertGreaterEqual(int(reloading["MONOTONIC_USEC"]), before_us)
                ready = manager.message()
                self.assertEqual(ready["READY"], "1")
                self.assertEqual("the last reload failed" in ready["STATUS"], status is not None)

    def test_a_signal_that_reopens_the_log_is_no_reload(self):
        with tempfile.NamedTemporaryFile() as config, ServiceManager() as manager, \
                self.server(manager, "--config", config.name) as server:
            manager.wait_for("READY")
            server.process.send_signal(signal.SIGUSR1)
            server.process.send_signal(signal.SIGTERM)
            self.assertIn("STOPPING", manager.message())

    def test_a_drain_asks_for_as_much_time_as_it_may_take(self):
        with ServiceManager() as manager, \
                self.server(manager, "--drain-timeout=2h", "--linger-timeout=0s") as server, \
                server.connect() as client:
            manager.wait_for("READY")
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.process.send_signal(signal.SIGTERM)
            message = manager.message()
            self.assertEqual(message["STOPPING"], "1")
            self.assertGreater(int(message["EXTEND_TIMEOUT_USEC"]), 7200 * 1_000_000)
            self.assertIn("draining", message["STATUS"])
            server.process.send_signal(signal.SIGHUP)  # no reload any more
            client.sendall(GET[10:])
            self.assertTrue(read_to_end(client))
            self.assertEqual(server.stop(), 0)
            manager.socket.settimeout(0)
            with self.assertRaises(BlockingIOError):
                manager.message()

    def test_nobody_who_listens_keeps_it_from_serving(self):
        for name in ("/nothing/is/here", "vsock:2:1234", "relative", "/" + "x" * 200, "@" + "x" * 107):
            with self.subTest(name=name), Server(environment={"NOTIFY_SOCKET": name}) as server:
                self.assertTrue(exchange(server, GET).startswith(b"HTTP/1.1 200"))
                server.stop()
                self.assertTrue("NOTIFY_SOCKET" in server.errors or "READY=1" in server.errors)


    def test_one_that_reads_nothing_holds_up_no_drain(self):
        with tempfile.NamedTemporaryFile("w") as config, ServiceManager() as manager, \
                self.server(manager, "--config", config.name) as server:
            began = time.monotonic()
            for number in range(1, 50):
                config.write(f"max-headers = {number}\n")
                config.flush()
                server.process.send_signal(signal.SIGHUP)
                server.process.send_signal(signal.SIGUSR1)
                self.assertTrue(exchange(server, GET).startswith(b"HTTP/1.1 200"))
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - began, PATIENCE_S)  # a hundred messages
            self.assertIn("the service manager cannot be told", server.errors)


class Watchdog(unittest.TestCase):
    def assert_silent(self, manager: ServiceManager):
        """Messages that were sent before do not count."""
        manager.socket.settimeout(0)
        try:
            while manager.message():
                pass
        except BlockingIOError:
            pass
        manager.socket.settimeout(SILENCE_S)
        with self.assertRaises(TimeoutError):
            manager.message()

    def test_it_hears_from_the_server_while_every_thread_answers(self):
        with ServiceManager(WATCHDOG_USEC="90000") as manager, \
                Server("--threads=3", environment=manager.environment) as server:
            manager.wait_for("READY")
            exchange(server, GET * 7)
            server.wait_for_stats(lambda s: s["requests"] == 7)
            for _ in range(3):
                alive = manager.wait_for("WATCHDOG")
            self.assertIn("7 requests", alive["STATUS"])

    def test_it_hears_nothing_when_one_thread_hangs(self):
        with ServiceManager(WATCHDOG_USEC="90000") as manager, \
                Server("--threads=3", environment=manager.environment) as server:
            manager.wait_for("WATCHDOG")
            latest = max(map(int, os.listdir(f"/proc/{server.process.pid}/task")))
            self.assertGreater(latest, server.process.pid)
            with stopped(latest):
                self.assert_silent(manager)
            manager.socket.settimeout(PATIENCE_S)
            manager.wait_for("WATCHDOG")

    def test_there_is_none_unless_it_is_meant(self):
        for environment in ({}, {"WATCHDOG_USEC": "90000", "WATCHDOG_PID": "1"},
                            {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "-90000"},
                            {"WATCHDOG_USEC": "soon"}):
            with self.subTest(environment), ServiceManager(**environment) as manager, \
                    Server(environment=manager.environment):
                manager.wait_for("READY")
                self.assert_silent(manager)


if __name__ == "__main__":
    unittest.main()
