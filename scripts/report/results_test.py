"""Reading results folders, whole and broken ones."""

import json
import tempfile
import unittest
from pathlib import Path

from report import results, testing
from report.results import Cell, Unreadable


class ReadTest(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        self.folder = Path(self._dir.name) / "run"

    def test_groups_samples_by_kind_and_cell_in_round_order(self) -> None:
        run = results.read(testing.write(self.folder, rounds=3))
        cell = Cell("respond", "default", "ordered-list", "eager", 400)
        self.assertEqual([s["round"] for s in run.of_kind("load")[cell]], [1, 2, 3])
        self.assertEqual(run.rounds, 3)
        self.assertEqual(set(run.samples), {"load", "syscalls", "profile"})

    def test_the_last_line_of_an_id_counts(self) -> None:
        testing.write(self.folder, backends=["none"], connections=[400])
        line = json.loads((self.folder / "samples.jsonl").read_text().splitlines()[0])
        line["rps"] = 42.0
        self._append(json.dumps(line) + "\n")
        cell = Cell("respond", "default", "none", "lazy", 400)
        samples = results.read(self.folder).of_kind("load")[cell]
        self.assertEqual([s["rps"] for s in samples], [42.0])

    def test_a_torn_last_line_is_dropped_but_one_in_the_middle_is_an_error(self) -> None:
        testing.write(self.folder, backends=["none"], connections=[400])
        count = sum(map(len, results.read(self.folder).of_kind("load").values()))
        self._append('{"id": "r02/resp')
        self.assertEqual(sum(map(len, results.read(self.folder).of_kind("load").values())), count)
        self._append("\n{}\n")
        with self.assertRaisesRegex(Unreadable, "samples.jsonl:4"):
            results.read(self.folder)

    def test_says_what_is_wrong_in_one_line(self) -> None:
        with self.assertRaisesRegex(Unreadable, "no manifest.json"):
            results.read(self.folder)
        testing.write(self.folder)
        (self.folder / "samples.jsonl").write_text("")
        with self.assertRaisesRegex(Unreadable, "no sample yet"):
            results.read(self.folder)
        (self.folder / "manifest.json").write_text('{"schema": "other/9"}')
        with self.assertRaises(Unreadable) as caught:
            results.read(self.folder)
        self.assertIn("other/9", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(caught.exception.code, 2)

    def test_invalid_samples_are_used_only_where_nothing_else_is(self) -> None:
        good, bad = {"valid": True}, {"valid": False}
        self.assertEqual(results.usable([good, bad]), [good])
        self.assertEqual(results.usable([bad]), [bad])

    def _append(self, text: str) -> None:
        with (self.folder / "samples.jsonl").open("a") as file:
            file.write(text)


class CellTest(unittest.TestCase):
    def test_the_control_has_no_rearm_mode_in_its_name(self) -> None:
        self.assertEqual(Cell("respond", "default", "none", "lazy", 5).variant, "none")

    def test_keys_follow_the_folded_files(self) -> None:
        cell = Cell("respond", "short", "asio", "eager", 5000)
        self.assertEqual(cell.key, "respond+short-asio-eager-5000")
