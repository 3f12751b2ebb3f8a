"""Reading result folders, whole and broken ones."""

import json
import tempfile
import unittest
from pathlib import Path

from report import run, testing
from results.cell import Cell
from results.errors import Unreadable


class ReadTest(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        self.folder = Path(self._dir.name) / "run"

    def test_groups_samples_by_kind_and_cell_in_round_order(self) -> None:
        read = run.read(testing.write(self.folder, rounds=3))
        cell = Cell("respond", "default", "ordered-list", "eager", 400)
        self.assertEqual([s.round for s in read.of_kind("load")[cell]], [1, 2, 3])
        self.assertEqual(read.rounds, 3)
        self.assertEqual(set(read.samples), {"load", "syscalls", "profile"})

    def test_the_last_line_of_an_id_counts(self) -> None:
        testing.write(self.folder, backends=["none"], connections=[400])
        line = json.loads((self.folder / "samples.jsonl").read_text().splitlines()[0])
        line["rps"] = 42.0
        self._append(json.dumps(line) + "\n")
        cell = Cell("respond", "default", "none", "lazy", 400)
        samples = run.read(self.folder).of_kind("load")[cell]
        self.assertEqual([s.rps for s in samples], [42.0])

    def test_says_what_is_wrong_in_one_line(self) -> None:
        with self.assertRaisesRegex(Unreadable, "no manifest.json"):
            run.read(self.folder)
        testing.write(self.folder)
        (self.folder / "samples.jsonl").write_text("")
        with self.assertRaisesRegex(Unreadable, "no sample yet"):
            run.read(self.folder)
        (self.folder / "manifest.json").write_text('{"schema": "other/9"}')
        with self.assertRaises(Unreadable) as caught:
            run.read(self.folder)
        self.assertIn("other/9", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(caught.exception.code, 2)

    def _append(self, text: str) -> None:
        with (self.folder / "samples.jsonl").open("a") as file:
            file.write(text)
