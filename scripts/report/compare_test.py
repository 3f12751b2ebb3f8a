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
