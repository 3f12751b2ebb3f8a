"""The choice of a transport (--io): what is said when io_uring is refused, and what names the choice.

A test refuses io_uring to one process only, with a seccomp filter or a limit.
"""

import errno
import os
import pathlib
import resource
import select
import subprocess
import sys
import unittest

from testing import (BINARY, GET, NO_RING, PATIENCE_S, Server, exchange, has_ring, run,
                     split_responses)

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "scripts"))
from harness import io_uring  # noqa: E402: it lies in scripts
from harness.testing import forbid_io_uring  # noqa: E402

NOBODY = 65534


def limit(what: int, value: int):
    resource.setrlimit(what, (value, value))


def serve(io: str, preexec_fn, *flags: str, **popen) -> subprocess.CompletedProcess:
    """Runs a server that is expected to end by itself."""
    return subprocess.run([BINARY, "--port=0", "--io", io, *flags], capture_output=True, text=True,
                          timeout=PATIENCE_S, preexec_fn=preexec_fn, **popen)


class Refused(unittest.TestCase):
    def assert_refused(self, ended: subprocess.CompletedProcess) -> str:
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
        self.assertRegex(ended.stderr, rf"^idlewheel-server: {NO_RING}: [^\n]+\n$")
        return ended.stderr

    def assert_falls_back(self, *flags: str, **popen):
        with Server("--io=auto", *flags, **popen) as server:
            self.assertEqual((server.ready["io"], server.stats()["io"]), ("epoll", "epoll"))
            self.assertEqual([r.status for r in split_responses(exchange(server, GET))], [200])
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.errors.count(NO_RING), 1, server.errors)
            self.assertRegex(server.errors, rf"{NO_RING}: [^\n]+; using epoll\n")

    def check(self, preexec_fn) -> str:
        """Returns what the server says."""
        for threads in ("--threads=1", "--threads=3"):
            self.assert_falls_back(threads, preexec_fn=preexec_fn)
            line = self.assert_refused(serve("io_uring", preexec_fn, threads))
        return line

    def test_by_a_filter_of_system_calls(self):
        for call in (io_uring.SETUP, io_uring.REGISTER, io_uring.ENTER):
            for error in (errno.EPERM, errno.ENOSYS):
                with self.subTest(call=call, error=errno.errorcode[error]):
                    line = self.check(lambda: forbid_io_uring(call, error))
                    if has_ring():
                        self.assertIn(os.strerror(error), line)
                        self.assertIn("seccomp", line)

    def test_for_want_of_descriptors(self):
        """There are ever more of them. Where they do not suffice one line says so. Where the dynamic
        loader has none it says so itself, with the exit code 127."""
        outcomes = {"io_uring": set(), "auto": set()}
        for count in range(3, 24):
            for io, seen in outcomes.items():
                with self.subTest(count=count, io=io):
                    seen.add(self.start_with(count, io))
        self.assertNotIn("epoll", outcomes["io_uring"])
        if has_ring():
            self.assertIn("io_uring", outcomes["auto"] & outcomes["io_uring"])

    def start_with(self, descriptors: int, io: str) -> str:
        """Which transport the server has, or nothing if it does not start."""
        with subprocess.Popen([BINARY, "--port=0", "--io", io, "--threads=2"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=lambda: limit(resource.RLIMIT_NOFILE, descriptors)) as process:
            # With the last descriptor taken it serves, but cannot open the file for its ready line.
            announces = select.select([process.stdout], [], [], 3)[0]
            ready = process.stdout.readline() if announces else ""
            process.terminate()
            _, errors = process.communicate(timeout=PATIENCE_S)
        if ready:
            self.assertEqual((process.returncode, errors.count(NO_RING)),
                             (0, int(io == "auto" and "io=epoll" in ready)), errors)
            return ready.split("io=")[1].split()[0]
        if announces and process.returncode != 127:
            self.assertEqual(process.returncode, 1, errors)
            said = [line for line in errors.splitlines() if "using epoll" not in line]
            self.assertEqual(len(said), 1, errors)
            self.assertRegex(said[0], "^idlewheel-server: ")
        return ""

    def test_whoever_may_lock_no_memory_has_a_ring_or_is_told(self):
        """Kernels before 5.12 count a ring as locked memory, those after do not."""
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        none = {"preexec_fn": lambda: limit(resource.RLIMIT_MEMLOCK, 0), **user}
        try:
            with Server("--io=io_uring", **none) as server:
                self.assertEqual([r.status for r in split_responses(exchange(server, GET))], [200])
        except PermissionError:
            self.skipTest("another user may not run the server here")
        except AssertionError as refused:
            self.assertIn(NO_RING, str(refused))
        with Server("--io=auto", **none) as server:
            self.assertEqual([r.status for r in split_responses(exchange(server, GET))], [200])


class Named(unittest.TestCase):
    def test_by_the_ready_line_the_statistics_and_the_metrics(self):
        for io in ("epoll", "io_uring", "auto"):
            if io == "io_uring" and not has_ring():
                continue
            with self.subTest(io=io), Server("--io", io) as server:
                name = server.ready["io"]
                self.assertEqual(name, {"auto": "io_uring" if has_ring() else "epoll"}.get(io, io))
                self.assertEqual(server.stats()["io"], name)
                series = [line for line in server.admin("/metrics")[1].splitlines()
                          if line.startswith("idlewheel_")]
                self.assertTrue(series)
                self.assertEqual([line for line in series if f'io="{name}"' not in line], [])

    def test_epoll_is_the_default(self):
        with subprocess.Popen([BINARY, "--port=0", "--log-level=off"], stdout=subprocess.PIPE,
                              text=True) as process:
            self.assertIn(" io=epoll", process.stdout.readline())
            process.terminate()

    def test_a_name_that_is_none(self):
        for name in ("nonsense", "uring", "epoll,io_uring"):
            ended = run("--port=0", f"--io={name}")
            self.assertEqual((ended.returncode, ended.stdout), (2, ""))
            self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
            for part in ("--io", "epoll", "io_uring", "auto"):
                self.assertIn(part, ended.stderr)


if __name__ == "__main__":
    unittest.main()
