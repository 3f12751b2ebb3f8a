import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import measured_server, process, scratch
from harness.measured_server import MeasuredServer
from harness.testing import STATS, Fakes
from results.cell import Cell
from results.errors import Failed, Stop

CELL = Cell("respond", "short", "ordered-list", "lazy", 10)
RING = Cell("respond", "short", "ordered-list", "lazy", 10, io="io_uring")


class ServerProcess(Fakes):
    def cpus(self) -> set[int]:
        return {min(os.sched_getaffinity(0))}

    def test_ready_checked_pinned_asked_and_stopped(self) -> None:
        with MeasuredServer(self.fake(), CELL, self.cpus()) as running:
            self.assertEqual(os.sched_getaffinity(running.pid), self.cpus())
            self.assertEqual(running.stats(), STATS | {"io": "epoll"})
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
        with self.assertRaisesRegex(Failed, "timers.moved"):
            MeasuredServer(self.fake(stats=lacking), CELL, self.cpus())

    def test_only_io_uring_is_asked_for_by_name(self) -> None:
        self.assertNotIn("--io", measured_server.argv("x", CELL))
        argv = measured_server.argv("x", RING)
        self.assertEqual(argv[argv.index("--io") + 1], "io_uring")

    def test_a_server_of_an_earlier_version_serves_epoll(self) -> None:
        with MeasuredServer(self.fake("old"), CELL, self.cpus()) as running:
            self.assertNotIn("io", running.stats())
        with self.assertRaisesRegex(Failed, "unknown argument '--io'"):
            MeasuredServer(self.fake("old"), RING, self.cpus())

    def test_a_server_on_another_transport_than_was_asked_for_is_refused(self) -> None:
        with MeasuredServer(self.fake(), RING, self.cpus()) as running:
            self.assertEqual(running.stats()["io"], "io_uring")
        with self.assertRaisesRegex(Failed, "asked for io io_uring, the server has epoll, says its "
                                            "ready line"):
            MeasuredServer(self.fake("deaf"), RING, self.cpus())

    def test_so_is_one_with_another_backend_or_rearm_mode(self) -> None:
        for name in ("backend", "rearm", "io"):
            stats = STATS | {name: "other"}
            path = Path(self.fake("old", stats))
            with self.subTest(name=name), self.assertRaisesRegex(
                    Failed, f"asked for {name} .*, the server has other, says http.*/stats"):
                MeasuredServer(str(path), CELL, self.cpus())

    def test_a_transport_that_does_not_work_ends_the_program(self) -> None:
        cpu = min(os.sched_getaffinity(0))
        for mode, words in (("no ring", "Operation not permitted"), ("old", "unknown argument"),
                            ("deaf", "the server has epoll")):
            found = measured_server.inspect(self.fake(mode))
            with self.subTest(mode=mode), self.assertRaisesRegex(Stop, words) as caught:
                measured_server.require_transport(found, "io_uring", cpu, Path("/here/server"))
            self.assertEqual(caught.exception.code, 3)
            self.assertIn("/here/server does not serve with --io io_uring", str(caught.exception))
        found = measured_server.inspect(self.fake())
        measured_server.require_transport(found, "io_uring", cpu, Path("/here/server"))

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


if __name__ == "__main__":
    unittest.main()
