import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path
from unittest import mock

from harness import contenders, cpus, environment, lock, measure, study
from harness.environment_test import GOOD
from harness.testing import Fakes, gone
from report import testing
from results import journal
from results.cell import Measurement
from results.sample import Cpu, Sample
from results.sample_test import paths
from study_cli import commands
from study_cli.readme_test import fields_of_the_manifest

SCRIPT = Path(__file__).resolve().parents[1] / "study"


def call(*argv: str) -> tuple[int, str, str]:
    """main in this process: exit code, stdout, stderr. Signal handlers are put back."""
    out, err = io.StringIO(), io.StringIO()
    kept = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = commands.main(list(argv))
            except SystemExit as leaving:
                code = leaving.code
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return code, out.getvalue(), err.getvalue()


class Usage(Fakes):
    def refused(self, *argv: str) -> str:
        code, out, err = call(*argv)
        self.assertEqual((code, out), (2, ""), err)
        self.assertEqual(len(err.splitlines()), 1, err)
        return err

    def test_bad_flags_are_one_line_and_two(self) -> None:
        cases = [
            [], ["fly"], ["run", "--preset", "huge"], ["run", "--connections", "abc"],
            ["run", "--connections", "0"], ["run", "--connections", "400,,5"],
            ["run", "--rearm", "never"], ["run", "--io", "kqueue"], ["run", "--io", "epoll,"],
            ["profile", "--io", "auto"], ["run", "--scenario", "respond,dance"],
            ["run", "--rounds", "0"], ["run", "--rounds", "-1"], ["run", "--duration", "abc"],
            ["run", "--duration", "0"], ["run", "--duration", "nan"], ["run", "--seed", "x"],
            ["run", "--frobnicate"], ["run", "--no-profile", "--profile-if-allowed"], ["run", "--backends", "a,,b"], ["load"],
            ["load", "http://127.0.0.1:1"], ["load", "ftp://x", "--connections", "1"],
            ["load", "http://127.0.0.1:99999", "--connections", "1"],
            ["load", "http://127.0.0.1:1/a b", "--connections", "1"],
            ["load", "http://127.0.0.1:1/\n", "--connections", "1"],
            ["load", "http://127.0.0.1:1/\udce9", "--connections", "1"],
            ["fleet", "--processes", "0"], ["fleet", "--connections", "1e6"],
            ["fleet", "--io", "auto"], ["fleet", "--idle-timeout", "1"],
            ["doctor", "--connections", "many"], ["compare", "x"],
            ["run", "--clients", "/nothing"], ["run", "--clients", "/nothing", "--server", "a"],
            ["run", "--clients", os.devnull, "--server", "a"],
            ["run", "--clients", os.devnull, "--server", "-oProxyCommand=x"],
            ["run", "--ssh-option", "Port=22"], ["run", "--server-port", "4242"],
            ["run", "--server-address", "10.0.0.1"], ["run", "--server-port", "99999"],
            ["run", "--server", "x", "--binary", "y"],
            ["report", str(self.folder)], ["compare", str(self.folder), str(self.folder)],
        ]
        for argv in cases:
            with self.subTest(argv=argv):
                self.refused(*argv)

    def test_a_host_that_is_server_and_client(self) -> None:
        listed = self.folder / "hosts.txt"
        listed.write_text("a\nb\n")
        self.assertIn("b is the server's host", self.refused("run", "--server", "b", "--clients",
                                                             str(listed)))

    def test_every_command_has_help(self) -> None:
        for command in ("run", "profile", "load", "servers", "windows", "dropin", "traces", "fleet",
                        "doctor", "report", "compare"):
            code, out, _ = call(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("usage: scripts/study " + command, out)

    def test_an_unknown_backend_names_those_there_are(self) -> None:
        with mock.patch.object(environment, "gather", return_value=GOOD):
            err = self.refused("run", "--server", self.fake(), "--backends", "calendar",
                               "-o", str(self.folder / "out"))
        self.assertIn("ordered-list, none", err)
        self.assertFalse((self.folder / "out").exists())


class Refusing(Fakes):
    def ends_with_three(self, facts: environment.Facts, *argv: str) -> str:
        with mock.patch.object(environment, "gather", return_value=facts):
            code, _, err = call(*argv)
        self.assertEqual(code, 3, err)
        self.assertEqual(len(err.splitlines()), 1, err)
        return err


class Environment(Refusing):
    def test_missing_tools_and_too_few_descriptors(self) -> None:
        run = ["run", "--server", self.fake(), "-o", str(self.folder / "out")]
        for tool in ("wrk", "perf"):
            facts = environment.Facts(**vars(GOOD) | {"tools": GOOD.tools | {tool: None}})
            self.assertIn(tool + ": not found", self.ends_with_three(facts, *run))
        few = environment.Facts(**vars(GOOD) | {"nofile": 1024})
        self.assertIn("1024 per process", self.ends_with_three(few, *run, "--connections", "5000"))
        self.assertFalse((self.folder / "out").exists())

    def test_doctor_fails_with_the_names(self) -> None:
        facts = environment.Facts(**vars(GOOD) | {"nofile": 1024})
        with mock.patch.object(environment, "gather", return_value=facts):
            code, out, err = call("doctor")
        self.assertEqual(code, 3)
        self.assertIn("FAIL descriptors", out)
        self.assertIn("descriptors", err)
        with mock.patch.object(environment, "gather", return_value=GOOD):
            self.assertEqual(call("doctor")[0], 0)

    def test_no_binary(self) -> None:
        missing = str(self.folder / "missing")
        self.assertIn("build it", self.ends_with_three(GOOD, "run", "--server", missing))

    def test_one_core_is_too_few_for_what_starts_a_server_and_its_load(self) -> None:
        with mock.patch.object(cpus, "usable_cores", return_value=[3]):
            with mock.patch.object(contenders, "require_built"):
                for command in ("servers", "windows", "dropin"):
                    err = self.ends_with_three(GOOD, command, "--no-build", "--connections", "10",
                                               *self.few(command))
                    self.assertIn("only core 3 may be used", err)
        alone = environment.Facts(**vars(GOOD) | {"cores": [3]})
        self.assertIn("1 usable", self.ends_with_three(alone, "run", "--server", self.fake()))

    def few(self, command: str) -> list[str]:
        return ["--idle-connections", "10"] if command == "servers" else []

    def test_more_connections_than_a_server_of_a_fleet_has_descriptors(self) -> None:
        with mock.patch.object(environment, "raise_file_limit", return_value=1024):
            err = self.ends_with_three(GOOD, "fleet", "--connections", "4000", "--processes", "2")
        self.assertIn("1024 per process, 2269 connections need 2369", err)
        self.assertIn("or more --processes", err)

    def test_nobody_listens(self) -> None:
        code, _, err = call("load", "http://127.0.0.1:1", "--connections", "1")
        self.assertEqual((code, len(err.splitlines())), (3, 1), err)


def figures(bench: measure.Bench, todo: Measurement) -> Sample:
    cpu = Cpu(user_s=1.0, sys_s=1.0, utilisation=1.0, outside_s=2.0, us_per_request=10.0)
    return Sample.of(todo, t0="now", rps=1.0, cpu=cpu, per_request={"total": 2.0}, samples=10,
                     shares={"timer": {"owner": 0.1}})


def failing(bench: measure.Bench, todo: Measurement, error: str) -> Sample:
    return Sample.of(todo, valid=False, flags=["failed"], error=error)


class Running(Fakes):
    """run without load: a function answers each measurement."""

    def run_study(self, measured, *more: str, facts: environment.Facts = GOOD
                  ) -> tuple[int, str, str]:
        return self.measuring("run", measured, facts, "--preset", "smoke", "--backends",
                              "ordered-list", *more)

    def profile(self, *more: str) -> tuple[int, str, str]:
        return self.measuring("profile", figures, GOOD, *more)

    def measuring(self, command: str, measured, facts: environment.Facts, *more: str
                  ) -> tuple[int, str, str]:
        with (mock.patch.object(environment, "gather", return_value=facts),
              mock.patch.object(measure, "make_sample", side_effect=measured)):
            return call(command, "--server", self.server, "-o", str(self.folder / "out"),
                        "--no-report", *more)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.fake()

    def samples(self) -> list[Sample]:
        return journal.read(self.folder / "out")

    def manifest(self) -> dict:
        return json.loads((self.folder / "out/manifest.json").read_text())


class Runs(Running):
    def test_a_whole_run(self) -> None:
        code, out, err = self.run_study(figures)
        self.assertEqual(code, 0, err)
        self.assertEqual(out.splitlines()[-1], str(self.folder / "out"))
        self.assertEqual([s.id for s in self.samples()], self.manifest()["plan"]["cells"])
        self.assertTrue(self.manifest()["finished"])
        self.assertIn("left", err)

    def test_the_manifest_has_the_fields_that_the_readme_lists(self) -> None:
        self.run_study(figures)
        written = {re.sub(r"(levels\.).*", r"\1<workload>", path)
                   for path in paths(self.manifest())}
        # A study on this machine alone has no hosts to name.
        self.assertEqual(sorted(written | {"env.hosts.<host>"}), sorted(fields_of_the_manifest()))

    def test_the_server_that_runs_is_a_private_copy_and_the_manifest_names_the_original(self) -> None:
        copies = set()

        def replaced(bench: measure.Bench, todo: Measurement) -> Sample:
            copies.add(Path(bench.binary.path))
            self.assertIn("9.9", Path(bench.binary.path).read_text())
            Path(self.server).write_text("a build in the middle of the run")
            return figures(bench, todo)

        sha256 = hashlib.sha256(Path(self.server).read_bytes()).hexdigest()
        code, _, err = self.run_study(replaced)
        self.assertEqual(code, 0, err)
        binary = self.manifest()["binary"]
        self.assertEqual((binary["path"], binary["sha256"]), (self.server, sha256))
        copy, = copies
        self.assertNotEqual(str(copy), self.server)
        self.assertFalse(copy.parent.exists())

    def test_interrupted_then_resumed(self) -> None:
        calls = []

        def interrupted(bench: measure.Bench, todo: Measurement) -> Sample:
            calls.append(todo.id)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return figures(bench, todo)

        code, _, err = self.run_study(interrupted)
        self.assertEqual(code, 130)
        self.assertIn("continue with: scripts/study run", err)
        self.assertEqual(len(self.samples()), 2)
        self.assertFalse(self.manifest()["finished"])
        code, _, err = self.run_study(figures)
        self.assertEqual(code, 0, err)
        self.assertEqual([s.id for s in self.samples()], self.manifest()["plan"]["cells"])

    def test_a_torn_last_line_is_due_again_for_run_and_profile(self) -> None:
        self.run_study(figures, "--no-profile")
        self.tear(self.folder / "out")
        code, _, err = self.run_study(figures)
        self.assertEqual(code, 0, err)
        self.assertTrue(self.manifest()["finished"])
        self.tear(self.folder / "out")
        code, _, err = self.profile()
        self.assertEqual(code, 0, err)
        self.assertEqual([s.id for s in self.samples()], self.manifest()["plan"]["cells"])

    def tear(self, folder: Path) -> None:
        """Cut the last line in the middle, as a crash does."""
        path = folder / journal.SAMPLES
        path.write_bytes(path.read_bytes()[:-20])

    def test_whatever_measures_is_refused_beside_another(self) -> None:
        url = "http://127.0.0.1:1"
        with lock.alone():
            for argv in (["run"], ["profile"], ["load", url, "--connections", "1"], ["servers"],
                         ["windows"], ["dropin"], ["traces"]):
                code, _, err = call(*argv)
                self.assertEqual((code, len(err.splitlines())), (3, 1), err)
                self.assertIn(f"process {os.getpid()}", err)
            self.assertEqual(call("report", "/nothing")[0], 2)

    def test_a_folder_of_other_things_is_refused(self) -> None:
        (self.folder / "out").mkdir()
        (self.folder / "out/thesis.tex").touch()
        code, _, err = self.run_study(figures)
        self.assertEqual(code, 2)
        self.assertIn("not empty", err)

    def test_a_rebuilt_server_does_not_mix(self) -> None:
        self.run_study(figures)
        self.server = self.fake("other")
        code, _, err = self.run_study(figures)
        self.assertEqual(code, 2)
        self.assertIn("server binary", err)

    def test_a_folder_of_another_machine_is_not_continued(self) -> None:
        self.run_study(figures, "--no-profile")
        there = self.manifest()
        there["env"]["kernel"] += ".other"
        (self.folder / "out/manifest.json").write_text(json.dumps(there))
        before = self.samples()
        code, _, err = self.run_study(figures)
        self.assertEqual((code, len(err.splitlines())), (2, 1), err)
        self.assertIn("another machine: kernel (", err)
        code, _, err = self.profile()
        self.assertEqual((code, len(err.splitlines())), (2, 1), err)
        self.assertEqual(self.samples(), before)

    def test_the_commit_is_the_one_that_the_binary_names(self) -> None:
        for said, commit in (("", None), (" (commit unknown)", None),
                             (" (commit 0123abc-dirty)", "0123abc-dirty")):
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            path = Path(self.fake())
            path.write_text(path.read_text().replace("idlewheel-server 9.9",
                                                     "idlewheel-server 9.9" + said))
            self.assertEqual(self.run_study(figures)[0], 0)
            self.assertEqual(self.manifest()["binary"]["commit"], commit)

    def test_without_profiles_and_then_with(self) -> None:
        self.run_study(figures, "--no-profile")
        self.assertNotIn("profile", {s.kind for s in self.samples()})
        self.run_study(figures)
        self.assertIn("profile", {s.kind for s in self.samples()})
        self.assertTrue(self.manifest()["finished"])

    def test_profiles_of_another_length_do_not_mix(self) -> None:
        self.run_study(figures)
        for flag in ("--duration", "--rounds"):
            code, _, err = self.profile(flag, "77")
            self.assertEqual((code, len(err.splitlines())), (2, 1), err)
            self.assertIn(f"{flag} 77", err)

    def test_failed_cells_end_with_four_and_are_due_again(self) -> None:
        def one_fails(bench: measure.Bench, todo: Measurement) -> Sample:
            if todo.kind == "syscalls" and todo.cell.rearm == "lazy":
                return failing(bench, todo, "server ended with 1")
            return figures(bench, todo)

        code, _, err = self.run_study(one_fails)
        self.assertEqual(code, 4)
        self.assertIn("server ended with 1", err.splitlines()[-1])
        self.assertEqual(self.run_study(figures)[0], 0)
        self.assertTrue(all(s.valid for s in self.samples()))

    def test_a_run_in_which_nothing_works_ends_soon(self) -> None:
        code, _, err = self.run_study(lambda bench, todo: failing(bench, todo, "no"))
        self.assertEqual(code, 4)
        self.assertEqual(len(self.samples()), study.FAILURES_IN_A_ROW)

    def test_uncountable_system_calls_are_left_out(self) -> None:
        blind = environment.Facts(**vars(GOOD) | {"tracepoints": "no tracefs"})
        code, _, err = self.run_study(figures, "--no-profile", facts=blind)
        self.assertEqual(code, 0, err)
        self.assertIn("no tracefs", err)
        self.assertEqual({s.kind for s in self.samples()}, {"load"})

    def test_who_may_record_but_not_count_gets_profiles(self) -> None:
        """A user at perf_event_paranoid 1, to whom tracefs is closed."""
        user = environment.Facts(**vars(GOOD) | {
            "root": False, "perf_paranoid": 1, "tracefs": "unreadable",
            "tracepoints": "No permissions to read"})
        code, _, err = self.run_study(figures, facts=user)
        self.assertEqual(code, 0, err)
        self.assertIn("note: no system calls are counted: No permissions to read", err)
        self.assertEqual({s.kind for s in self.samples()}, {"load", "profile", "dwarf"})

    def test_user_mode_alone_is_refused_before_anything_is_measured(self) -> None:
        user = environment.Facts(**vars(GOOD) | {
            "root": False, "perf_paranoid": 2, "perf_records": "perf records user mode only"})
        code, _, err = self.run_study(figures, facts=user)
        self.assertEqual((code, len(err.splitlines())), (3, 1), err)
        self.assertIn("sysctl -w kernel.perf_event_paranoid=1 as root, or --no-profile", err)
        self.assertFalse((self.folder / "out").exists())
        self.assertEqual(self.run_study(figures, "--no-profile", facts=user)[0], 0)

    def test_profiles_if_allowed(self) -> None:
        """A container whose engine may withhold what perf needs."""
        refused = environment.Facts(**vars(GOOD) | {
            "perf_records": "Operation not permitted", "tracepoints": "Operation not permitted"})
        code, _, err = self.run_study(figures, "--profile-if-allowed", facts=refused)
        self.assertEqual(code, 0, err)
        self.assertIn("note: no profiles are recorded: perf record: Operation not permitted; fix: ",
                      err)
        self.assertEqual({s.kind for s in self.samples()}, {"load"})
        shutil.rmtree(self.folder / "out")
        code, _, err = self.run_study(figures, "--profile-if-allowed")
        self.assertEqual(code, 0, err)
        self.assertNotIn("note: no profiles", err)
        self.assertEqual({s.kind for s in self.samples()}, {"load", "syscalls", "profile", "dwarf"})


class TornLine(Fakes):
    def test_report_and_compare_leave_it_out(self) -> None:
        a, b = (testing.write(self.folder / name, profiles=False, seed=seed)
                for name, seed in (("a", 1), ("b", 2)))

        def shown() -> tuple[str, str]:
            self.assertEqual(call("report", str(a))[0], 0)
            code, table, err = call("compare", str(a), str(b))
            self.assertEqual(code, 0, err)
            return (a / "results.json").read_text(), table

        before = shown()
        whole = (a / journal.SAMPLES).read_bytes()
        for torn in (b'{"id": "r01/respond/def', whole.splitlines()[0].replace(b"r01", b"r09")):
            (a / journal.SAMPLES).write_bytes(whole + torn)
            self.assertEqual(shown(), before)


class Signals(Fakes):
    @unittest.skipUnless(shutil.which("wrk"), "needs wrk (scripts/setup installs it)")
    def test_a_signal_ends_it_with_130(self) -> None:
        """A server that never gets ready keeps run waiting; SIGINT must end both."""
        slow = self.folder / "slow-server"
        slow.write_text("#!/bin/sh\necho $$ > " + str(self.folder / "pid") + "\nsleep 60\n")
        slow.chmod(0o755)
        asked = subprocess.Popen([SCRIPT, "run", "--server", slow, "--no-report",
                                  "--no-profile", "-o", self.folder / "out"],
                                 stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        pid, limit = self.folder / "pid", time.monotonic() + 20
        while not (pid.exists() and pid.read_text()) and time.monotonic() < limit:
            time.sleep(0.02)
        asked.send_signal(signal.SIGINT)
        _, err = asked.communicate(timeout=20)
        self.assertEqual(asked.returncode, 130, err)
        self.assertEqual(len(err.splitlines()), 1, err)
        # The kernel ends it with its parent where the signal came while it was being started.
        server, limit = int(pid.read_text()), time.monotonic() + 5
        while not gone(server) and time.monotonic() < limit:
            time.sleep(0.01)
        self.assertTrue(gone(server))


if __name__ == "__main__":
    unittest.main()
