"""Signals: which of them drain the server, which reopen its log, which it ignores, and which end it."""

import fcntl
import os
import resource
import signal
import subprocess
import tempfile
import typing
import unittest

from testing import BINARY, GET, PATIENCE_S, Server, read_to_end, run, split_responses, wait_for

DRAIN = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU}
REOPEN = {signal.SIGHUP, signal.SIGUSR1}
IGNORED = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2,
           signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM, signal.SIGIO, signal.SIGSTKFLT,
           *range(32, signal.SIGRTMAX + 1)}
# The kernel does not end a process for these.
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOP = {signal.SIGTSTP, signal.SIGSTOP}
BUG = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV,
       signal.SIGSYS}
RESERVED = {32, 33}  # by the C library, which may handle them; other programs can still send them


def ignore_all():
    for number in (DRAIN | REOPEN | IGNORED | HARMLESS | STOP | BUG) - RESERVED - {signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)


def block_all():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.SIGRTMAX + 1))


def leave_no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def signal_set(server: Server, name: str) -> set[int]:
    """A set of signals as the kernel shows it: SigBlk, SigIgn or SigCgt."""
    with open(f"/proc/{server.process.pid}/status") as status:
        bits = next(int(line.split()[1], 16) for line in status if line.startswith(name + ":"))
    return {number for number in range(1, 65) if bits >> (number - 1) & 1}


class Signals(unittest.TestCase):
    INHERITED = {"nothing": None, "ignored": ignore_all, "blocked": block_all}

    def test_every_signal_is_decided(self):
        decided = DRAIN | REOPEN | IGNORED | HARMLESS | STOP | BUG | {signal.SIGKILL}
        self.assertEqual(decided, set(range(1, signal.SIGRTMAX + 1)))

    def test_what_the_kernel_knows_of_it_whatever_the_server_inherits(self):
        for inherited, before in self.INHERITED.items():
            with self.subTest(inherited=inherited), Server(preexec_fn=before) as server:
                self.assertEqual(signal_set(server, "SigBlk"), set())
                ignored = signal_set(server, "SigIgn")
                self.assertLessEqual(IGNORED, ignored | RESERVED)
                self.assertEqual(ignored & (STOP | BUG), set())
                self.assertLessEqual(DRAIN | REOPEN, signal_set(server, "SigCgt"))

    def test_these_end_nothing(self):
        for inherited, before in self.INHERITED.items():
            with Server("--threads=2", preexec_fn=before) as server, server.connect() as client:
                client.sendall(GET[:10])
                for number in sorted(REOPEN | IGNORED | HARMLESS):
                    server.process.send_signal(number)
                    self.assertEqual(server.admin("/readyz")[0], 200, (inherited, number))
                client.sendall(GET[10:])
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_these_drain(self):
        for inherited, before in self.INHERITED.items():
            for number in sorted(DRAIN):
                with self.subTest(inherited=inherited, signal=number), \
                        Server("--drain-timeout=1h", "--linger-timeout=0s",
                               preexec_fn=before) as server, \
                        server.connect() as client:
                    client.sendall(GET[:10])
                    server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
                    server.begin_drain(number)
                    client.sendall(GET[10:])
                    (response,) = split_responses(read_to_end(client))
                    self.assertEqual(response.fields["connection"], "close")
                    self.assertEqual(server.process.wait(PATIENCE_S), 0)

    def test_a_second_one_cuts_but_the_limit_of_cpu_time_repeats_itself(self):
        with Server("--drain-timeout=1h", "--linger-timeout=0s") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            for _ in range(3):
                server.begin_drain(signal.SIGXCPU)
            self.assertEqual(server.stats()["connections"]["open"], 1)
            server.process.send_signal(signal.SIGQUIT)
            self.assertEqual(server.process.wait(PATIENCE_S), 0)

    def test_signals_during_the_drain_do_not_end_it(self):
        with Server("--drain-timeout=1h", "--linger-timeout=0s") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.begin_drain()
            for number in sorted(REOPEN | IGNORED | HARMLESS):
                server.process.send_signal(number)
            client.sendall(GET[10:])
            self.assertEqual(len(split_responses(read_to_end(client))), 1)
            self.assertEqual(server.process.wait(PATIENCE_S), 0)

    def test_one_that_reports_a_bug_ends_it_whatever_the_server_inherits(self):
        for inherited, before in self.INHERITED.items():
            def prepare(before=before):
                leave_no_core()
                if before is not None:
                    before()
            with self.subTest(inherited=inherited), \
                    Server(exit_code=-signal.SIGTRAP, preexec_fn=prepare) as server:
                server.stop(signal.SIGTRAP)

    def test_one_that_stops_it_does_so_whatever_the_server_inherits(self):
        """In a process group of its own: the kernel drops SIGTSTP for a group without a parent in its
        session, and the tests may run in such a group."""
        for inherited, before in self.INHERITED.items():
            with self.subTest(inherited=inherited), \
                    Server(preexec_fn=before, process_group=0) as server:
                server.process.send_signal(signal.SIGTSTP)
                wait_for(lambda pid=server.process.pid:
                         os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED | os.WNOHANG)[1]))
                server.process.send_signal(signal.SIGCONT)
                self.assertEqual(server.admin("/readyz")[0], 200)


class Start(unittest.TestCase):
    """A start may wait, for somebody who writes a configuration file into a pipe for example."""

    INHERITED = Signals.INHERITED

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.pipe = os.path.join(folder.name, "pipe")
        os.mkfifo(self.pipe)

    def start(self, *flags: str, **popen) -> subprocess.Popen:
        process = subprocess.Popen([BINARY, "--port=0", *flags], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **popen)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def start_that_waits(self, **popen) -> tuple[subprocess.Popen, typing.IO]:
        """The server waits for the rest of the file once this has returned."""
        process = self.start("--config", self.pipe, **popen)
        config = open(self.pipe, "w")  # waits until the server has opened it
        self.addCleanup(config.close)
        return process, config

    def test_whatever_asks_it_to_end_ends_it_at_once(self):
        for inherited, before in self.INHERITED.items():
            for number in sorted(DRAIN):
                with self.subTest(inherited=inherited, signal=number):
                    process, _ = self.start_that_waits(preexec_fn=before)
                    process.send_signal(number)
                    self.assertEqual(process.wait(PATIENCE_S), 0)

    def test_nothing_else_ends_it_and_what_is_written_later_counts(self):
        for inherited, before in self.INHERITED.items():
            with self.subTest(inherited=inherited):
                process, config = self.start_that_waits(preexec_fn=before)
                for number in sorted(REOPEN | IGNORED | HARMLESS):
                    process.send_signal(number)
                config.write("rearm = eager\n")
                config.close()
                self.assertIn("rearm=eager", process.stdout.readline())
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(PATIENCE_S), 0)

    def test_a_trace_into_a_pipe_that_nobody_reads_is_a_failure(self):
        ended = run("--port=0", "--timer-trace", self.pipe)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
        self.assertIn(self.pipe, ended.stderr)

    def test_a_trace_into_a_pipe_that_fills_up_holds_up_nothing(self):
        with open(os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as trace:
            fcntl.fcntl(trace, fcntl.F_SETPIPE_SZ, 4096)
            with Server("--timer-trace", self.pipe, "--rearm=eager") as server:
                with server.connect() as client:
                    for _ in range(500):
                        client.sendall(GET)
                        self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))
                self.assertEqual(server.stop(), 0)
                self.assertIn("the trace is cut short", server.errors)
            self.assertTrue(trace.read(8).startswith(b"timers"))


if __name__ == "__main__":
    unittest.main()
