"""The study's smallest preset, from the command line to the report, and its interruption.

scripts/study builds the server itself. What it measured has to be the server of the build that this
test belongs to.
"""

import collections
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import io_uring
from results import journal, manifest

STUDY = str(pathlib.Path(__file__).with_name("study"))
SERVER = pathlib.Path(os.environ["IDLEWHEEL_SERVER"])
LIMIT_S = 600


def setUpModule():
    """Without these programs scripts/study would install packages, which no test should."""
    missing = [program for program in ("wrk", "perf", "node", "npm") if not shutil.which(program)]
    if missing:
        raise unittest.SkipTest(f"needs {', '.join(missing)} (scripts/setup installs them)")


# Another study on this machine does not keep this one from running: its figures mean nothing.
os.environ["IDLEWHEEL_STUDY_LOCK"] = f"idlewheel-study-test-{os.getpid()}"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([STUDY, *arguments], capture_output=True, text=True, timeout=LIMIT_S)


def running_with(mark: str) -> list[int]:
    """Processes that inherited an environment variable of this value."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:  # ended meanwhile
            pass
    return found


class Smoke(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.results = pathlib.Path(cls.folder.name, "results")
        cls.ended = run("run", "--preset", "smoke", "-o", str(cls.results))

    def test_ends_well_with_the_path_of_the_report(self):
        self.assertEqual(self.ended.returncode, 0, self.ended.stderr)
        report = pathlib.Path(self.ended.stdout.splitlines()[-1])
        self.assertEqual(report.name, "report.html")
        page = report.read_text()
        self.assertIn("default-src 'none'", page)
        self.assertIn("Frame pointers against DWARF", page)
        self.assertNotIn("src=\"http", page)

    def test_leaves_the_files_that_others_read(self):
        written = manifest.read(self.results)
        samples = journal.read(self.results)
        self.assertTrue(written["finished"])
        self.assertEqual(written["binary"]["sha256"],
                         hashlib.sha256(SERVER.read_bytes()).hexdigest())
        self.assertEqual({s.id for s in samples}, set(written["plan"]["cells"]))
        for sample in samples:
            if sample.kind == "load":
                self.assertGreater(sample.requests + sample.timed_out, 0, sample.id)
                self.assertGreater(sample.cpu.us_per_request, 0, sample.id)
        self.assertIn("dwarf", {s.kind for s in samples if s.valid})
        folded = [*(self.results / "profiles").glob("*.folded"),
                  *(self.results / "profiles/dwarf").glob("*.folded")]
        self.assertTrue(folded)
        for file in folded:
            for line in file.read_text().splitlines():
                self.assertRegex(line, r"^\S.* \d+$")
        self.assertTrue(json.loads((self.results / "results.json").read_text())["rows"])
        self.assertIn("|", (self.results / "summary.md").read_text())

    def test_traces_of_each_scenario(self):
        folder = pathlib.Path(self.folder.name, "traces")
        ended = run("traces", "--no-build", "--connections", "20", "--duration", "0.3",
                    "-o", str(folder))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        made = [pathlib.Path(line) for line in ended.stdout.splitlines()]
        self.assertEqual(sorted(made), sorted(folder.iterdir()))
        self.assertEqual(len(made), 4)
        for trace in made:
            self.assertGreater(trace.stat().st_size, 16 * 100, trace)

    def test_the_same_command_has_nothing_left_to_do(self):
        before = (self.results / journal.SAMPLES).read_bytes()
        again = run("run", "--preset", "smoke", "-o", str(self.results))
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual((self.results / journal.SAMPLES).read_bytes(), before)


class Transports(unittest.TestCase):
    """A server without --io, or one that this machine refuses a ring, is no error of the study."""

    def test_both_are_measured_where_the_server_has_both(self):
        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder, "results")
            ended = run("run", "--preset", "smoke", "--no-build", "--io", "epoll,io_uring",
                        "--backends", "hierarchical-wheel", "--rearm", "eager", "--scenario",
                        "respond", "--connections", "50", "-o", str(results))
            offered = "--io" in subprocess.run([SERVER, "--help"], capture_output=True,
                                               text=True).stdout
            if io_uring.refusal() or not offered:
                self.assertEqual(ended.returncode, 3, ended.stderr)
                self.assertRegex(ended.stderr.splitlines()[-1], "^study: .*io_uring")
                self.assertFalse(results.exists())
                return
            self.assertEqual(ended.returncode, 0, ended.stderr)
            kinds = collections.Counter((s.kind, s.io) for s in journal.read(results))
            self.assertEqual(set(kinds.values()), {1})
            self.assertEqual({io for _, io in kinds}, {"epoll", "io_uring"})
            names = {file.name for file in (results / "profiles").glob("*.folded")}
            self.assertEqual(names, {f"respond-hierarchical-wheel-eager-50{tail}.folded"
                                     for tail in ("", "-io_uring")})
            self.assertIn("## io_uring against epoll", (results / "summary.md").read_text())


class Fleet(unittest.TestCase):
    def test_idle_connections_to_two_servers_on_one_port(self):
        ended = run("fleet", "--no-build", "--connections", "300", "--processes", "2",
                    "--idle-timeout", "4", "--duration", "1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("300 connections, 2 servers on one port", ended.stdout)
        self.assertIn("| all expire |", ended.stdout)

    def test_a_backend_without_timeouts_is_refused(self):
        ended = run("fleet", "--no-build", "--backend", "none")
        self.assertEqual((ended.returncode, len(ended.stderr.splitlines())), (2, 1), ended.stderr)


class Interrupted(unittest.TestCase):
    def test_leaves_nothing_running_and_resumes(self):
        with tempfile.TemporaryDirectory() as folder:
            results = pathlib.Path(folder, "results")
            command = [STUDY, "run", "--preset", "smoke", "--backends", "hierarchical-wheel",
                       "--connections", "50", "--no-profile", "--no-report", "-o", str(results)]
            file = results / journal.SAMPLES
            study = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                     text=True, env={**os.environ, "STUDY_TEST_MARK": folder})
            limit = time.monotonic() + LIMIT_S
            while not (file.exists() and file.read_text()) and time.monotonic() < limit:
                self.assertIsNone(study.poll(), "ended before it was interrupted")
                time.sleep(0.05)
            os.kill(study.pid, signal.SIGINT)
            _, errors = study.communicate(timeout=60)
            self.assertEqual(study.returncode, 130, errors)
            # The kernel kills whatever the study had just started; that may take a moment.
            limit = time.monotonic() + 10
            while (left := running_with(folder)) and time.monotonic() < limit:
                time.sleep(0.05)
            self.assertEqual(left, [])
            done = len(journal.read(results))
            again = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
            self.assertEqual(again.returncode, 0, again.stderr)
            made = len(journal.read(results))
            self.assertGreater(made, done)
            self.assertEqual(len(file.read_text().splitlines()), made,
                             "a finished cell was measured again")


class Usage(unittest.TestCase):
    def test_an_unknown_backend_is_told_the_names(self):
        ended = run("run", "--preset", "smoke", "--no-build", "--backends", "sundial")
        self.assertEqual(ended.returncode, 2)
        self.assertIn("hierarchical-wheel", ended.stderr)

    def test_too_few_descriptors_are_refused_with_the_fix(self):
        ended = subprocess.run(
            ["sh", "-c", 'ulimit -n 200; exec "$0" run --preset smoke --no-build --connections 400',
             STUDY], capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(ended.returncode, 3, ended.stderr)
        self.assertIn("ulimit -Hn 500", ended.stderr)


if __name__ == "__main__":
    unittest.main()
