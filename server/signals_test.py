"""Signals: which of them drain the server, which reopen its log, which it ignores, and which end it."""

import resource
import signal
import unittest

from testing import GET, PATIENCE_S, Server, read_to_end, split_responses

DRAIN = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU}
REOPEN = {signal.SIGHUP, signal.SIGUSR1}
IGNORED = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2,
           signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM, signal.SIGIO, signal.SIGSTKFLT,
           *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)}
# The kernel does not end a process for these.
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOP = {signal.SIGTSTP, signal.SIGSTOP}
BUG = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV,
       signal.SIGSYS}
RESERVED = {32, 33}  # the C library's own


def ignore_all():
    for number in DRAIN | REOPEN | IGNORED:
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
        decided = DRAIN | REOPEN | IGNORED | HARMLESS | STOP | BUG | RESERVED | {signal.SIGKILL}
        self.assertEqual(decided, set(range(1, signal.SIGRTMAX + 1)))

    def test_what_the_kernel_knows_of_it_whatever_the_server_inherits(self):
        for inherited, before in self.INHERITED.items():
            with self.subTest(inherited=inherited), Server(preexec_fn=before) as server:
                self.assertEqual(signal_set(server, "SigBlk"), set())
                self.assertLessEqual(IGNORED, signal_set(server, "SigIgn"))
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

    def test_one_that_reports_a_bug_ends_it(self):
        with Server(exit_code=-signal.SIGTRAP, preexec_fn=leave_no_core) as server:
            server.stop(signal.SIGTRAP)


if __name__ == "__main__":
    unittest.main()
