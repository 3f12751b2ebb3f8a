import os
import signal
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from harness import process
from harness.process import Child
from harness.testing import gone


class Children(unittest.TestCase):
    def test_leaving_ends_the_whole_group(self) -> None:
        with Child(["sh", "-c", "sleep 60 & echo $!; wait"]) as child:
            limit = time.monotonic() + 5
            while not child.output().strip() and time.monotonic() < limit:
                time.sleep(0.01)
            grandchild = int(child.output())
        self.assertFalse(child.running)
        limit = time.monotonic() + 5
        while not gone(grandchild) and time.monotonic() < limit:
            time.sleep(0.01)
        self.assertTrue(gone(grandchild))

    def test_one_that_ignores_the_request_is_forced(self) -> None:
        with (mock.patch.object(process, "STOP_LIMIT_S", 0.2),
              Child(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]) as child):
            while not child.output():
                time.sleep(0.01)
        self.assertEqual(child.popen.returncode, -signal.SIGKILL)

    def test_what_a_child_says_needs_no_folder_for_temporary_files(self) -> None:
        """It may be full: a report that is cut says nothing of that."""
        with mock.patch.object(tempfile, "tempdir", "/nonexistent"):
            self.assertEqual(process.run(["sh", "-c", "echo out; echo err >&2"], 5),
                             (0, "out\n", "err\n"))

    def test_how_a_child_ended(self) -> None:
        for script, said in (("echo last; exit 3", "sh ended with 3: last"),
                             ("kill -9 $$", "sh was killed by SIGKILL: it said nothing")):
            with Child(["sh", "-c", script]) as child:
                child.wait(5)
                self.assertEqual(child.ending(), said)

    def test_run_has_a_limit_and_knows_what_is_missing(self) -> None:
        self.assertEqual(process.run(["sleep", "60"], 0.1)[0], 124)
        self.assertEqual(process.run(["/no/such/program"], 1)[0], 127)
        self.assertEqual(process.run(["echo", "hello"], 5)[:2], (0, "hello\n"))

    def test_cpu_clock_of_another_process(self) -> None:
        with Child(["sh", "-c", "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; sleep 60"]
                   ) as child:
            limit = time.monotonic() + 10
            while process.cpu_s(child.pid) < 0.005 and time.monotonic() < limit:
                time.sleep(0.01)
            self.assertGreaterEqual(process.cpu_s(child.pid), 0.005)
            self.assertGreater(process.rss_kib(child.pid), 0)

    def test_host_counters_move_on(self) -> None:
        first = process.HostTimes.read()
        time.sleep(0.05)
        second = process.HostTimes.read()
        self.assertGreater(second.at_s, first.at_s)
        # Sums of the kernel's ticks of 10 ms: a difference far below one is rounding.
        self.assertGreaterEqual(second.busy_s, first.busy_s - 0.001)
        self.assertEqual(set(first.core_busy_s), set(second.core_busy_s))


class Counters(unittest.TestCase):
    """HostTimes of a machine whose /proc says little."""

    TOTAL = "cpu  100 0 100 500 10 0 0 20 0 0\n"
    LINE = "cpu{} 50 0 50 250 5 0 0 10 0 0\n"

    def read(self, stat: str | None, usable: set[int], psi: str | None = None) -> process.HostTimes:
        with tempfile.TemporaryDirectory() as scratch_:
            proc = Path(scratch_)
            (proc / "pressure").mkdir()
            for name, text in (("stat", stat), ("pressure/cpu", psi)):
                if text is not None:
                    (proc / name).write_text(text)
            with mock.patch.object(os, "sched_getaffinity", return_value=usable):
                return process.HostTimes.read(proc)

    def cores(self, *numbers: int) -> str:
        return self.TOTAL + "".join(self.LINE.format(n) for n in numbers) + "intr 7 8\n"

    def test_a_machine_that_counts_everything(self) -> None:
        tick = 1 / os.sysconf("SC_CLK_TCK")
        found = self.read(self.cores(2, 5), {2, 5}, "some avg10=0.00 total=2000000\nfull total=1\n")
        self.assertAlmostEqual(found.busy_s, 200 * tick)
        self.assertAlmostEqual(found.steal_s, 20 * tick)
        self.assertAlmostEqual(found.core_busy_s[5], 100 * tick)
        self.assertEqual((found.psi_some_s, found.cores), (2.0, 2))

    def test_cores_that_are_numbered_anew_are_not_taken_for_the_kernels(self) -> None:
        """LXC counts the cores 2 and 5 as cpu0 and cpu1, and the cores 1 and 2 too."""
        for usable in ({2, 5}, {1, 2}, {5}):
            found = self.read(self.cores(0, 1), usable)
            self.assertEqual((found.core_busy_s, found.cores), ({}, 2))
            self.assertIsNotNone(found.busy_s)

    def test_nothing_is_made_up_and_nothing_is_raised(self) -> None:
        for stat in (None, "", "intr 1 2\n", "cpu\n", "cpu  x y\n", "cpu0\ncpu1 1 2\n"):
            with self.subTest(stat=stat):
                found = self.read(stat, {0, 1})
                self.assertEqual((found.busy_s, found.steal_s, found.core_busy_s, found.psi_some_s),
                                 (None, None, {}, None))

    def test_an_old_kernel_has_no_steal(self) -> None:
        found = self.read("cpu 1 2 3 4\ncpu0 1 2 3 4\n", {0})
        self.assertIsNone(found.steal_s)
        self.assertAlmostEqual(found.core_busy_s[0], 6 / os.sysconf("SC_CLK_TCK"))

    def test_pressure_that_cannot_be_read(self) -> None:
        for psi in (None, "", "some\n"):
            self.assertIsNone(self.read(self.cores(0), {0}, psi).psi_some_s)

    def test_sockets_nobody_counts(self) -> None:
        self.assertEqual(process.tcp_in_use(Path("/nonexistent")), 0)


if __name__ == "__main__":
    unittest.main()
