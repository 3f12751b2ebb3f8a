import json
import os
import shutil
import signal
import stat
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from harness import lock, measured_server, process, scratch
from harness.measured_server import MeasuredServer
from harness.process import Child
from results.cell import Cell
from results.errors import Failed, Stop

FAKE = r"""#!/usr/bin/python3
import json, signal, socket, sys, threading
MODE = "{mode}"
if "--list-timer-backends" in sys.argv:
    print("ordered-list\t2\tsoonest first\nnone\t-\tcontrol")
    sys.exit(0)
if "--version" in sys.argv:
    print("idlewheel-server 9.9")
    sys.exit(0)
if MODE == "refuses":
    print("cannot bind 127.0.0.1:1", file=sys.stderr)
    sys.exit(1)
STATS = {stats}
def listen(body):
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        while True:
            peer, _ = listener.accept()
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                         % len(body) + body)
            peer.close()
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]
main, admin = listen(b""), listen(json.dumps(STATS).encode())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3 if MODE == "dirty" else 0))
print(f"listening on http://127.0.0.1:{{main}} backend=ordered-list rearm=lazy threads=1 "
      f"admin=http://127.0.0.1:{{admin}}", flush=True)
while True:
    signal.pause()
"""
STATS = {"requests": 1, "responses": 1, "writes": 1, "bytes_out": 1,
         "connections": {"open": 0, "closed": {"request": 0}},
         "timers": {"armed": 0, "rearmed": 0, "moved": 0, "disarmed": 0, "expired": 0,
                    "late_us": {"p50": 0, "p99": 0, "max": 0}}, "cpu_ns": 1, "mono_ns": 1}
CELL = Cell("respond", "short", "ordered-list", "lazy", 10)


def gone(pid: int) -> bool:
    """Ended, or a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Fakes(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        # Not the real lock of the machine, so that no study keeps the tests from running.
        name = f"idlewheel-study-test-{os.getpid()}"
        for patch in (mock.patch.object(tempfile, "tempdir", scratch.name),
                      mock.patch.object(lock, "NAME", name),
                      mock.patch.dict(os.environ, TMPDIR=scratch.name, IDLEWHEEL_STUDY_LOCK=name)):
            patch.start()
            self.addCleanup(patch.stop)

    def fake(self, mode: str = "good", stats: dict | None = None) -> str:
        path = self.folder / "idlewheel-server"
        path.write_text(FAKE.format(mode=mode, stats=json.dumps(stats or STATS)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)


class ServerProcess(Fakes):
    def cpus(self) -> set[int]:
        return {min(os.sched_getaffinity(0))}

    def test_ready_checked_pinned_asked_and_stopped(self) -> None:
        with MeasuredServer(self.fake(), CELL, self.cpus()) as running:
            self.assertEqual(os.sched_getaffinity(running.pid), self.cpus())
            self.assertEqual(running.stats(), STATS)
            self.assertEqual(running.stop(), 0)

    def test_an_unclean_exit_code_is_seen(self) -> None:
        with MeasuredServer(self.fake("dirty"), CELL, self.cpus()) as running:
            self.assertEqual(running.stop(), 3)

    def test_a_server_that_ends_at_once_is_reported_with_its_last_words(self) -> None:
        with self.assertRaisesRegex(Failed, "ended with 1: cannot bind"):
            MeasuredServer(self.fake("refuses"), CELL, self.cpus())

    def test_a_wrong_answer_fails_the_cell_and_leaves_nothing(self) -> None:
        waiting = Cell("mixed", "default", "ordered-list", "lazy", 10)
        with self.assertRaisesRegex(Failed, "not 200 and 16"):
            MeasuredServer(self.fake(), waiting, self.cpus())

    def test_stats_that_lack_a_counter_are_named(self) -> None:
        lacking = json.loads(json.dumps(STATS))
        del lacking["timers"]["moved"]
        with MeasuredServer(self.fake(stats=lacking), CELL, self.cpus()) as running:
            with self.assertRaisesRegex(Failed, "timers.moved"):
                running.stats()

    def test_flags_of_a_short_cell(self) -> None:
        argv = measured_server.argv("x", CELL)
        self.assertEqual(argv[argv.index("--idle-timeout") + 1], "2s")
        self.assertEqual(argv[argv.index("--request-timeout") + 1], "1s")

    def test_inspect_reads_the_list(self) -> None:
        found = measured_server.inspect(self.fake())
        self.assertEqual(found.backends, ["ordered-list", "none"])
        self.assertEqual(found.version, "idlewheel-server 9.9")

    def test_inspect_refuses_what_is_no_server(self) -> None:
        for path in ("/bin/false", str(self.folder / "missing")):
            with self.assertRaises(Stop) as caught:
                measured_server.inspect(path)
            self.assertEqual(caught.exception.code, 3)
            self.assertIn("cmake --preset release", str(caught.exception))


class PrivateCopy(Fakes):
    def odd(self, name: str) -> Path:
        """The fake server in a folder of that name."""
        folder = self.folder / name
        folder.mkdir()
        return Path(shutil.move(self.fake(), folder))

    def test_it_has_a_plain_path_whatever_the_original_has(self) -> None:
        for name in ("idle wheel (1)", "grün", "a'b\"c", "[k];x", os.fsdecode(b"\xff\xfe")):
            with self.subTest(name=os.fsencode(name)):
                original = self.odd(name)
                with measured_server.private_copy(original) as copy:
                    self.assertRegex(str(copy), r"^[A-Za-z0-9._/-]+/idlewheel-server$")
                    self.assertEqual(copy.read_bytes(), original.read_bytes())
                    self.assertIn("none", measured_server.inspect(str(copy)).backends)
                self.assertFalse(copy.parent.exists())

    def test_an_odd_folder_for_temporary_files_is_passed_over(self) -> None:
        odd = self.folder / "t ü,(x)"
        odd.mkdir()
        with (mock.patch.object(tempfile, "tempdir", str(odd)),
              measured_server.private_copy(Path(self.fake())) as copy,
              scratch.folder("idlewheel-test-") as other):
            for path in (str(copy), other):
                self.assertRegex(path, r"^[A-Za-z0-9._/-]+$")

    def test_a_new_build_changes_nothing(self) -> None:
        original = Path(self.fake())
        with measured_server.private_copy(original) as copy:
            original.write_text("#!/bin/sh\nexit 1\n")
            self.assertEqual(measured_server.inspect(str(copy)).version, "idlewheel-server 9.9")
            original.unlink()
            self.assertEqual(measured_server.inspect(str(copy)).version, "idlewheel-server 9.9")

    def test_it_is_removed_when_the_study_fails(self) -> None:
        with self.assertRaises(KeyboardInterrupt):
            with measured_server.private_copy(Path(self.fake())) as copy:
                raise KeyboardInterrupt
        self.assertFalse(copy.parent.exists())

    def test_what_is_no_program_is_named_with_its_own_path(self) -> None:
        text = self.folder / "text"
        text.write_text("hello")
        for path in (text, self.folder / "missing", self.folder):
            with self.subTest(path=path), self.assertRaises(Stop) as caught:
                with measured_server.private_copy(path):
                    pass
            self.assertEqual(caught.exception.code, 3)
            self.assertRegex(str(caught.exception), f"^{path} does not run")
        with self.assertRaisesRegex(Stop, "^/here/server does not run"):
            measured_server.inspect("/bin/false", "/here/server")

    def test_a_folder_that_starts_no_programs_is_passed_over(self) -> None:
        refusing = self.folder / "noexec"
        refusing.mkdir()

        def run(argv: list[str], limit_s: float) -> tuple[int, str, str]:
            where = Path(argv[0]).parents[1]
            return (process.NOT_STARTED, "", "Permission denied") if where == refusing else (0, "", "")

        original = Path(self.fake())
        with (mock.patch.object(measured_server, "run", side_effect=run),
              mock.patch.object(scratch, "candidates", return_value=[refusing, self.folder])):
            with measured_server.private_copy(original) as copy:
                self.assertEqual(copy.parents[1], self.folder)
        with (mock.patch.object(measured_server, "run", side_effect=run),
              mock.patch.object(scratch, "candidates", return_value=[refusing])):
            with self.assertRaisesRegex(Stop, r"\(Permission denied\); fix: set TMPDIR"):
                with measured_server.private_copy(original):
                    pass
        self.assertEqual(list(refusing.iterdir()), [])


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
        with Child(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]) as child:
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
