"""Two folders side by side."""

import contextlib
import io
import json
import re
import tempfile
import unittest
from pathlib import Path

from report import compare, testing
from results import machine
from results.journal import SAMPLES
from results.manifest import MANIFEST


class CompareTest(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        self.root = Path(self._dir.name)

    def pair(self, **options) -> tuple[Path, Path]:
        return (testing.write(self.root / "before", **options),
                testing.write(self.root / "after", **(options | {"seed": 2})))

    def compare(self, a: Path, b: Path, out=None, force=False) -> tuple[Path, str]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), testing.skipped_without_renderer():
            path = compare.compare(a, b, out, force)
        return path, printed.getvalue()

    def test_both_folders_can_be_chosen_in_the_viewer(self) -> None:
        path, _ = self.compare(*self.pair())
        self.assertEqual(path, self.root / "after" / "compare-before.html")
        text = path.read_text()
        data = json.loads(re.search(r'id="flame-data">(.*?)</script>', text, re.S)[1])
        self.assertEqual({p["folder"] for p in data["profiles"]}, {"A", "B"})
        self.assertEqual(data["start"], ["A:" + data["start"][0][2:], "B:" + data["start"][0][2:]])
        ids = re.findall(r'\sid="([^"]+)"', text)
        self.assertEqual(len(ids), len(set(ids)))

    def test_prints_a_row_a_shared_cell(self) -> None:
        _, printed = self.compare(*self.pair())
        self.assertEqual(printed.count("\n| respond"), 10)
        self.assertIn("no statistics", printed)

    def test_enough_rounds_are_tested_unpaired(self) -> None:
        _, printed = self.compare(*self.pair(rounds=8, profiles=False))
        self.assertIn("p (Holm)", printed)
        self.assertIn("no difference proven", printed)

    def test_a_real_difference_is_found(self) -> None:
        a, b = self.pair(rounds=10, profiles=False)
        path = b / "samples.jsonl"
        path.write_text(re.sub(r'"us_per_request": (\d+\.\d+)',
                               lambda m: f'"us_per_request": {1.5 * float(m[1])}',
                               path.read_text()))
        _, printed = self.compare(a, b)
        self.assertEqual(printed.count("slower"), 10)

    def test_other_environments_are_refused_by_name_unless_forced(self) -> None:
        a, _ = self.pair()
        other = testing.ENV | {"kernel": "9.9.9", "nofile": 1}
        b = testing.write(self.root / "after", env=other)
        with self.assertRaisesRegex(compare.Refused, r"kernel \(6\.1\.0 / 9\.9\.9\)") as caught:
            self.compare(a, b)
        self.assertNotIn("nofile", str(caught.exception))
        path, _ = self.compare(a, b, force=True)
        self.assertIn("although the environments differ", path.read_text())

    def edit(self, folder: Path, file: str, change) -> None:
        """Change each JSON object of a file."""
        path = folder / file
        texts = [path.read_text()] if file == MANIFEST else path.read_text().splitlines()
        found = [json.loads(text) for text in texts]
        for each in found:
            change(each)
        path.write_text("".join(json.dumps(each) + "\n" for each in found))

    def test_stars_and_what_they_stand_for(self) -> None:
        a, b = self.pair()
        def flag(sample: dict) -> None:
            if sample["backend"] == "ordered-list" and sample["kind"] == "load":
                sample["flags"] = ["steal"]
        self.edit(b, SAMPLES, flag)
        path, printed = self.compare(a, b)
        for text in (printed, path.read_text()):
            self.assertIn("A star: a gate failed (steal in B).", text)
        for row in printed.splitlines():
            if row.startswith("| respond"):
                columns = row.split(" | ")
                self.assertNotIn("*", columns[1])
                self.assertEqual("*" in columns[2], "ordered-list" in columns[0], row)

    def test_without_flags_there_is_no_word_of_stars(self) -> None:
        _, printed = self.compare(*self.pair())
        self.assertNotIn("star", printed)
        self.assertNotIn("*", printed)
        self.assertNotIn("settings", printed)

    def test_other_settings_and_an_unfinished_run_are_said(self) -> None:
        a, b = self.pair()
        def change(manifest: dict) -> None:
            manifest["plan"]["window_s"], manifest["finished"] = 0.25, False
            manifest["plan"]["preset"] = "smoke"
        self.edit(b, MANIFEST, change)
        path, printed = self.compare(a, b)
        for text in (printed, path.read_text()):
            self.assertIn("Measured with other settings: preset (unknown / smoke); window_s (5 / 0.25)"
                          ".", text)
            self.assertIn("Not finished: B.", text)

    def test_other_machines_are_said_below_the_table_too(self) -> None:
        a, _ = self.pair()
        b = testing.write(self.root / "after", env=testing.ENV | {"cpu": "Other"})
        _, printed = self.compare(a, b, force=True)
        self.assertIn("environments differ: cpu (Example CPU / Other).", printed)

    def test_of_long_values_the_part_that_differs_is_said(self) -> None:
        there = "meltdown: PTI; spectre_v1: barriers; spectre_v2: Retpolines"
        for other, said in ((there.replace("PTI", "off"), "meltdown: PTI / meltdown: off"),
                            (there.replace("meltdown: PTI; ", ""), "meltdown: PTI / without it")):
            found = machine.differences({"mitigations": there}, {"mitigations": other},
                                        ("mitigations",))
            self.assertEqual(found, [f"mitigations ({said})"])

    def test_out_names_a_page_or_a_folder(self) -> None:
        a, b = self.pair(profiles=False)
        self.assertEqual(self.compare(a, b, self.root / "x" / "page.html")[0],
                         self.root / "x" / "page.html")
        self.assertEqual(self.compare(a, b, self.root / "pages")[0],
                         self.root / "pages" / "compare-before.html")

    def test_folders_that_share_no_cell(self) -> None:
        a = testing.write(self.root / "before", connections=[400])
        b = testing.write(self.root / "after", connections=[50], profiles=False)
        path, printed = self.compare(a, b)
        self.assertIn("share no timing cell", printed)
        self.assertIn("share no timing cell", path.read_text())
