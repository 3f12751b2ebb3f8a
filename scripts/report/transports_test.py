"""Both transports in one folder: names, baselines, the table that compares them, flame graphs."""

import contextlib
import io
import json
import re
import tempfile
import unittest
from pathlib import Path

from report import analysis, build, compare, content, run, summary, testing, transports
from report.profiles import Tree
from results.cell import IOS, Cell
from results.stats import Outcome


class Transports(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "both"

    def written(self, **options: object) -> Path:
        return testing.write(self.folder, **({"io": IOS} | options))

    def rows(self, **options: object) -> list[analysis.Row]:
        return analysis.rows(run.read(self.written(**options)), [])

    def test_the_first_sentences_are_about_the_default_one(self) -> None:
        rows = self.rows()
        self.assertEqual(transports.opening(rows)[:-1],
                         content.opening([row for row in rows if row.cell.io == "epoll"]))
        for row in rows:
            if row.cell.io == "epoll":
                row.cpu_us = None
        self.assertIn("io_uring", content.opening(rows)[0])

    def test_each_transport_has_its_own_baseline(self) -> None:
        for row in self.rows():
            if row.comparison:
                control = "none" if row.cell.io == "epoll" else "none io_uring"
                self.assertEqual(row.comparison.baseline, control)
        self.assertEqual({row.cell.backend for row in self.rows() if not row.comparison}, {"none"})

    def test_the_ratio_of_a_cell_to_itself_on_epoll(self) -> None:
        both = transports.pairs(self.rows(rounds=8), seed=1)
        self.assertEqual(len(both), 2 * 5)
        for ring, base, ratio in both:
            self.assertEqual((ring.cell.io, base.cell.io), ("io_uring", "epoll"))
            expected = sum(testing.stacks(ring.cell).values()) / sum(
                testing.stacks(base.cell).values())
            self.assertAlmostEqual(ratio.ratio, expected, delta=0.03)
            self.assertEqual((ratio.outcome, ratio.n), (Outcome.FASTER, 8))
        table = transports.table(self.rows(rounds=8), 1).markdown()
        self.assertRegex(table, r"\| respond · 400 · none \| .* faster \| 3.10 \| 0.20 \|")

    def test_one_transport_alone_says_nothing_about_the_other(self) -> None:
        for transport in IOS:
            rows = self.rows(io=[transport])
            self.assertEqual(transports.table(rows, 1).rows, [])
            self.assertEqual(transports.opening(rows), content.opening(rows))

    def test_a_cell_that_failed_on_one_of_them_is_left_out(self) -> None:
        self.written()
        testing.change_samples(self.folder, lambda sample: sample["io"] == "epoll" and
                               sample["backend"] == "none" and testing.fail(sample, "gone"))
        both = transports.pairs(analysis.rows(run.read(self.folder), []), 1)
        self.assertNotIn("none", {ring.cell.backend for ring, _, _ in both})
        self.assertEqual(len(both), 2 * 4)

    def test_the_summary_and_the_file_for_machines(self) -> None:
        tree = Tree()
        findings = build.analyse("", self.written(), tree)
        text = summary.markdown(findings)
        self.assertIn(f"## {transports.TITLE}", text)
        self.assertIn("In brackets the ratio on epoll to none; on io_uring to none io_uring.", text)
        self.assertRegex(text, r"CPU per request on io_uring, as a ratio to the same cell on epoll: "
                               r"from 0\.\d\d")
        found = json.loads(json.dumps(summary.machine_readable(findings, tree)))
        self.assertEqual(len(found["transports"]), 2 * 5)
        self.assertEqual({each["cell"]["io"] for each in found["transports"]}, {"io_uring"})
        self.assertEqual({each["cell"]["io"] for each in found["rows"]}, set(IOS))

    def page(self, path: Path) -> tuple[str, dict]:
        text = path.read_text(encoding="utf-8")
        data = re.search(r'id="flame-data">(.*?)</script>', text)[1]
        return text, json.loads(data)

    def test_flame_graphs_of_both_are_in_one_viewer(self) -> None:
        with testing.skipped_without_renderer():
            text, data = self.page(build.report(self.written()))
        self.assertIn('<section id="transports">', text)
        self.assertIn("eager re-arm, io_uring", text)
        keys = {profile["key"] for profile in data["profiles"]}
        self.assertLessEqual({"respond-ordered-list-eager-400",
                              "respond-ordered-list-eager-400-io_uring"}, keys)
        self.assertEqual(len({p["label"] for p in data["profiles"]}), len(data["profiles"]))
        self.assertEqual(*("io_uring" in key for key in data["start"]))

    def test_a_variant_alone_opens_with_its_two_transports(self) -> None:
        with testing.skipped_without_renderer():
            _, data = self.page(build.report(self.written(
                backends=["hierarchical-wheel"], connections=[400], rearm=["eager"])))
        self.assertEqual(set(data["start"]), {"respond-hierarchical-wheel-eager-400",
                                              "respond-hierarchical-wheel-eager-400-io_uring"})

    def test_two_folders_compare_each_transport_with_itself(self) -> None:
        other = testing.write(self.folder.with_name("other"), io=IOS, seed=2)
        both = [analysis.rows(run.read(folder), []) for folder in (self.written(), other)]
        shared = analysis.shared(*both)
        self.assertEqual(len(shared), 2 * 2 * 5)
        self.assertTrue(all(pair.a.cell == pair.b.cell for pair in shared))
        with testing.skipped_without_renderer(), contextlib.redirect_stdout(io.StringIO()):
            text, _ = self.page(compare.compare(self.folder, other))
        self.assertIn('<section id="transports-A">', text)


class OlderFolders(unittest.TestCase):
    def test_one_that_names_no_transport_is_of_epoll(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = testing.write(Path(scratch) / "old", connections=[400])
            testing.change_samples(folder, lambda sample: sample.pop("io"))
            with testing.skipped_without_renderer():
                text = build.report(folder).read_text(encoding="utf-8")
            cells = {row.cell for row in analysis.rows(run.read(folder), [])}
        self.assertIn(Cell("respond", "default", "ordered-list", "eager", 400, io="epoll"), cells)
        self.assertNotIn("io_uring", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
        self.assertNotIn('<section id="transports', text)


if __name__ == "__main__":
    unittest.main()
