"""How scripts/study starts and ends: links, folders, paths, signals, streams, locales."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
import unittest
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from harness.testing import STATS, Fakes, needs_io_uring
from report import testing

SCRIPTS = Path(__file__).resolve().parents[1]
STUDY = SCRIPTS / "study"
LIMIT_S = 120
# Characters that shells, configuration files and lists of paths give a meaning.
ODD = "idle wheel (1) [2] {3} $HOME;`x`#'q\"ü:,&%d"


def ended(*argv: object, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, errors="replace",
                          timeout=LIMIT_S, **options)


class Scratch(Fakes):
    def link(self, name: str, target: object) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(target)
        return path


# Stand-ins let a whole study take seconds, on any machine. Their figures mean nothing.
WRK = """#!/bin/sh
[ "$1" = -v ] && { echo "wrk 4.1.0"; exit 1; }
trap 'echo "100 requests in 1.00s, 1MB read"; exit 0' INT
while :; do sleep 0.05; done
"""
PERF = """#!/bin/sh
echo "no perf here" >&2
exit 1
"""
CONNECTIONS = 20
ROUNDS = 3
COMMANDS = """import json, signal, sys
def start():
    print("started with", sys.argv[1:])
"""


class Working(Scratch):
    """A study that works, with stand-ins for the programs that it runs."""

    def setUp(self) -> None:
        super().setUp()
        programs = self.folder / "programs"
        programs.mkdir()
        for name, text in (("wrk", WRK), ("perf", PERF)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        patch = mock.patch.dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}")
        patch.start()
        self.addCleanup(patch.stop)
        self.server = self.fake("busy", STATS | {
            "connections": {"open": CONNECTIONS, "closed": {"request": 0}}})
        self.out = self.folder / "out"

    def command(self) -> list[str]:
        words = [STUDY, "run", "--server", self.server, "--preset", "smoke",
                 "--backends", "ordered-list", "--rearm", "lazy", "--scenario", "respond",
                 "--connections", CONNECTIONS, "--rounds", ROUNDS, "--duration", "0.1",
                 "--no-profile", "--no-report", "-o", self.out]
        return list(map(str, words))

    def start(self, *argv: object, **options: object) -> subprocess.Popen:
        """Started, and at its first measurement."""
        study = subprocess.Popen(list(map(str, argv)), stdout=subprocess.DEVNULL, text=True,
                                 stderr=subprocess.PIPE, **options)
        limit = time.monotonic() + LIMIT_S
        while study.poll() is None and not (self.out / "manifest.json").exists():
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.01)
        return study

    def assert_whole(self) -> None:
        self.assertTrue(json.loads((self.out / "manifest.json").read_text())["finished"])
        self.assertEqual(len((self.out / "samples.jsonl").read_text().splitlines()), ROUNDS)


class Links(Scratch):
    """scripts/study finds its own tree. The commands are a stand-in, which starts sooner."""

    def setUp(self) -> None:
        super().setUp()
        self.scripts = self.folder / "checkout/scripts"
        package = self.scripts / "study_cli"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(COMMANDS)
        self.study = shutil.copy(STUDY, self.scripts)

    def assert_starts(self, *argv: object, **options: object) -> None:
        found = ended(*argv, "two words", **options)
        self.assertEqual((found.returncode, found.stdout, found.stderr),
                         (0, "started with ['two words']\n", ""))

    def test_a_link_and_a_chain_of_relative_links(self) -> None:
        first = self.link("bin/study", self.study)
        self.assert_starts(first)
        self.link("bin/second", "study")
        third = self.link("third", "bin/second")
        self.assert_starts(third)
        self.assert_starts("./third", cwd=self.folder)
        self.assert_starts("bin/../third", cwd=self.folder)

    def test_a_link_to_a_folder_of_the_tree(self) -> None:
        self.assert_starts(self.link("tree", self.scripts) / "study")
        self.assert_starts(self.link("top", self.scripts.parent) / "scripts/study")

    def test_on_the_path_from_another_folder(self) -> None:
        first = self.link("bin/study", self.study)
        for folders in (self.scripts, first.parent, "bin"):
            path = f"{folders}:{os.environ['PATH']}"
            self.assert_starts("study", cwd=self.folder, env={**os.environ, "PATH": path})

    def test_by_a_relative_path_and_as_an_argument_of_the_shell(self) -> None:
        self.assert_starts(os.path.relpath(self.study, self.folder), cwd=self.folder)
        self.assert_starts("./study", cwd=self.scripts)
        self.assert_starts("sh", "study", cwd=self.scripts)

    def test_what_lies_in_the_folder_of_the_caller_is_not_imported(self) -> None:
        for name in ("signal", "study_cli", "json"):
            (self.folder / f"{name}.py").write_text("raise SystemExit('imported')")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.assert_starts(self.study, cwd=self.folder, env=environment)

    def test_variables_of_the_shell_do_not_move_it(self) -> None:
        self.assert_starts("./study", cwd=self.scripts,
                           env={**os.environ, "CDPATH": str(self.folder), "PYTHONSAFEPATH": "1"})


class OtherScripts(Scratch):
    def test_they_work_in_the_tree_and_say_how_they_are_used(self) -> None:
        for name, argument in (("test", "--no-such"), ("setup", "--no-such"), ("fuzz", "none")):
            self.link(f"bin/{name}", SCRIPTS / name)
            self.link(f"chain-{name}", f"bin/{name}")
            for path in (SCRIPTS / name, f"bin/{name}", f"./chain-{name}"):
                found = ended("bash", "-x", path, argument, cwd=self.folder)
                self.assertEqual(found.returncode, 2, found.stderr)
                self.assertIn(f"usage: scripts/{name}", found.stderr)
                folders = [shlex.split(line)[-1] for line in found.stderr.splitlines()
                           if line.startswith("+ cd -- ")]
                self.assertEqual(folders, [f"{SCRIPTS}/.."], found.stderr)


class Moved(Scratch):
    """A checkout under a path with characters that mean something elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.copy = self.folder / ODD / "scripts"
        shutil.copytree(SCRIPTS, self.copy, ignore=shutil.ignore_patterns("node_modules"))

    def test_scripts_study_starts_there_and_through_a_link(self) -> None:
        for path in (self.copy / "study", self.link("study", self.copy / "study")):
            found = ended(path, "report", self.folder)
            self.assertEqual(found.returncode, 2, found.stderr)
            self.assertRegex(found.stderr, r"^study: .* is not a result folder[^\n]*\n$")

    def test_scripts_test_starts_there(self) -> None:
        found = ended(self.link("run-tests", self.copy / "test"), "--no-such")
        self.assertEqual((found.returncode, found.stderr), (2, "usage: scripts/test [--long]\n"))


class Streams(Working):
    """A reader may leave, and streams may be closed or full."""

    def shell(self, command: str, *argv: object) -> tuple[int, str]:
        """The exit code of the study, and what stands on standard error of the shell."""
        found = ended("sh", "-c", command, *(argv or (STUDY,)))
        return found.returncode, found.stderr

    def test_closed_streams_are_no_error(self) -> None:
        for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            self.assertEqual(self.shell(f'"$0" --help {closed}'), (0, ""), closed)
        self.assertEqual(self.shell('"$0" report /nothing >&- 2>&-'), (2, ""))

    def test_a_study_with_all_of_them_closed_is_whole(self) -> None:
        self.assertEqual(self.shell('"$0" "$@" <&- >&- 2>&-', *self.command()), (0, ""))
        self.assert_whole()

    def test_a_full_disk_behind_standard_output_is_said(self) -> None:
        self.assertEqual(self.shell('"$0" --help >/dev/full'),
                         (3, "study: standard output: No space left on device\n"))

    def test_a_full_disk_behind_standard_error_changes_nothing(self) -> None:
        self.assertEqual(self.shell('"$0" report /nothing 2>/dev/full'), (2, ""))

    def test_a_reader_who_leaves_does_not_cut_the_study_short(self) -> None:
        """As in `run 2>&1 | head -1`."""
        study = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        study.stdout.readline()
        study.stdout.close()
        self.assertEqual(study.wait(LIMIT_S), 0)
        self.assert_whole()


class Signals(Working):
    def test_an_interrupt_at_any_moment_of_the_start_is_one_line_and_130(self) -> None:
        for milliseconds in range(0, 500, 50):
            study = subprocess.Popen([STUDY, "doctor"], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True)
            time.sleep(milliseconds / 1000)
            study.send_signal(signal.SIGINT)
            _, error = study.communicate(timeout=LIMIT_S)
            with self.subTest(milliseconds=milliseconds):
                self.assertNotIn("Traceback", error)
                self.assertLessEqual(len(error.splitlines()), 1, error)
                # Before the script's first line it is the kernel that ends it. Later than the last
                # line it has ended by itself; without perf, doctor ends with 3.
                self.assertIn(study.returncode, (130, -signal.SIGINT, 3))

    def test_an_ignored_hangup_stays_ignored(self) -> None:
        """As under nohup, when the terminal is closed."""
        study = self.start("sh", "-c", "trap '' HUP; exec \"$0\" \"$@\"", *self.command())
        study.send_signal(signal.SIGHUP)
        _, error = study.communicate(timeout=LIMIT_S)
        self.assertEqual(study.returncode, 0, error)
        self.assert_whole()

    def test_a_hangup_that_is_not_ignored_interrupts(self) -> None:
        study = self.start(*self.command())
        study.send_signal(signal.SIGHUP)
        _, error = study.communicate(timeout=LIMIT_S)
        self.assertEqual(study.returncode, 130, error)
        self.assertIn("study: interrupted", error.splitlines()[-1])


@needs_io_uring
class Transports(Working):
    """From the command line to the report, with a server that only says that it has a ring."""

    def test_both_are_measured_and_the_report_compares_them(self) -> None:
        found = ended(*self.command(), "--io", "epoll,io_uring")
        self.assertEqual(found.returncode, 0, found.stderr)
        samples = [json.loads(line) for line in (self.out / "samples.jsonl").read_text().splitlines()]
        self.assertEqual(Counter(s["io"] for s in samples),
                         {"epoll": ROUNDS, "io_uring": ROUNDS})
        self.assertEqual([s["error"] for s in samples if not s["valid"]], [])
        self.assertEqual(ended(STUDY, "report", self.out).returncode, 0)
        self.assertIn("## io_uring against epoll", (self.out / "summary.md").read_text())

    def test_a_server_that_serves_epoll_instead_measures_nothing(self) -> None:
        self.fake("deaf")
        found = ended(*self.command(), "--io", "epoll,io_uring")
        self.assertEqual(found.returncode, 3, found.stderr)
        self.assertRegex(found.stderr.splitlines()[-1],
                         "^study: .*asked for io io_uring, the server has epoll")
        self.assertFalse(self.out.exists())


class Locales(Scratch):
    LATIN = "de_DE.ISO-8859-1"
    NAMES = ("C", "C.UTF-8", LATIN, "nonsense")

    def setUp(self) -> None:
        super().setUp()
        # Few machines have it; where it cannot be made, its name stands for C.
        locale = self.folder / self.LATIN
        with contextlib.suppress(OSError):
            ended("localedef", "-i", "de_DE", "-f", "ISO-8859-1", locale)
        self.odd = Path(os.fsdecode(os.fsencode(self.folder) + b"/caf\xe9 \xc3\xa4"))
        self.odd.mkdir()

    def in_each(self, *argv: object) -> Iterator[subprocess.CompletedProcess]:
        for name in self.NAMES:
            environment = {**os.environ, "LC_ALL": name, "LOCPATH": str(self.folder)}
            environment.pop("PYTHONUTF8", None)
            with self.subTest(locale=name):
                yield subprocess.run(list(map(os.fsencode, map(str, argv))), capture_output=True,
                                     env=environment, timeout=LIMIT_S)

    def test_a_line_about_a_folder_whose_name_is_no_text(self) -> None:
        for found in self.in_each(STUDY, "report", self.odd):
            self.assertEqual(found.returncode, 2, found.stderr)
            self.assertRegex(found.stderr, rb"^study: .* is not a result folder[^\n]*\n$")

    def test_a_path_byte_by_byte_and_a_table_with_more_than_latin_letters(self) -> None:
        run = testing.write(self.odd / "run", profiles=False)
        for found in self.in_each(STUDY, "compare", run, run):
            self.assertEqual((found.returncode, found.stderr), (0, b""))
            self.assertIn("1.00\u202f×".encode(), found.stdout)
            self.assertEqual(found.stdout.splitlines()[-1],
                             os.fsencode(self.odd) + b"/run/compare-run.html")


if __name__ == "__main__":
    unittest.main()
