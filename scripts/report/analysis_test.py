"""Figures, comparisons and the opening sentences."""

import dataclasses
import json
import tempfile
import unittest
from pathlib import Path

from report import analysis, content, profiles, run, testing, validity
from report.analysis import Comparison, Row
from report.profiles import Tree
from results import journal
from results.cell import Cell
from results.stats import Outcome


def row(backend: str, rounds: dict[int, float], alias: str | None = None, **more) -> Row:
    cell = Cell("respond", "default", backend, "lazy", 400, alias)
    known = dict(rounds=len(rounds), valid_rounds=len(rounds), flags=[], failures=[], rps=1000.0,
                 cpu_us=sorted(rounds.values())[len(rounds) // 2], cpu_us_by_round=rounds,
                 server_bound=True, utilisation=0.99, timers_per_request={}, expired=0,
                 p99_us=None, late_p99_us=None, rss_kib=None, errors=0)
    return Row(cell=cell, **(known | more))


def rows_of(change=None, **options) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = testing.write(Path(folder) / "run", **options)
        if change:
            testing.change_samples(path, change)
        read = run.read(path)
        return analysis.rows(read, profiles.read(read, Tree()))


class RowsTest(unittest.TestCase):
    def test_one_round_has_a_ratio_and_no_statistics(self) -> None:
        found = {r.cell: r for r in rows_of()}
        dear = found[Cell("respond", "default", "ordered-list", "eager", 5000)]
        self.assertGreater(dear.comparison.ratio, 5)
        self.assertIsNone(dear.comparison.low)
        self.assertIs(dear.comparison.outcome, Outcome.UNTESTED)
        self.assertEqual(content.verdict_words(dear.comparison), "")
        self.assertAlmostEqual(dear.timer_us, dear.timer_share["owner"] * dear.cpu_us, delta=2)
        self.assertEqual(dear.syscalls["total"], 3.1)

    def test_ten_rounds_have_an_interval_and_a_verdict(self) -> None:
        found = {r.cell: r for r in rows_of(rounds=10, profiles=False)}
        dear = found[Cell("respond", "default", "ordered-list", "eager", 5000)].comparison
        self.assertTrue(1 < dear.low <= dear.ratio <= dear.high)
        self.assertEqual((dear.n, dear.outcome), (10, Outcome.SLOWER))
        wheel = found[Cell("respond", "default", "hierarchical-wheel", "lazy", 5000)].comparison
        self.assertNotIn(wheel.outcome, (Outcome.SLOWER, Outcome.FASTER))

    def test_what_was_not_measured_is_none(self) -> None:
        found = rows_of(profiles=False, syscalls=False)
        self.assertTrue(all(r.timer_us is None and r.syscalls == {} for r in found))
        self.assertTrue(all(r.cpu_us for r in found))

    def test_requests_per_second_are_withheld_with_the_reason(self) -> None:
        withheld = row("none", {1: 9.0}, server_bound=False, utilisation=0.8)
        self.assertIn("80.0\u202f%", content.rps_note(withheld))
        self.assertEqual(content._rps(withheld).text, "client-bound")
        self.assertEqual(content.rps_note(row("none", {1: 9.0})), "")

    def test_older_samples_are_judged_by_the_servers_own_time_as_well(self) -> None:
        def judged(utilisation: float) -> set[bool]:
            with tempfile.TemporaryDirectory() as scratch:
                folder = testing.write(Path(scratch) / "run", profiles=False, syscalls=False)
                samples = [json.loads(line) for line
                           in (folder / journal.SAMPLES).read_text().splitlines()]
                for sample in samples:
                    sample["server_bound"] = True  # by the busy core
                    sample["cpu"]["utilisation"] = utilisation
                (folder / journal.SAMPLES).write_text(
                    "".join(json.dumps(each) + "\n" for each in samples))
                return {r.server_bound for r in analysis.rows(run.read(folder), [])}

        self.assertEqual((judged(0.83), judged(0.97)), ({False}, {True}))

    def test_the_servers_closes_are_no_errors_where_requests_time_out(self) -> None:
        counts = {"connect": 1, "read": 300}
        cell = Cell("increasing-timeout", "default", "asio", "eager", 400)
        self.assertEqual(analysis._errors(cell, counts), 1)
        self.assertEqual(analysis._errors(dataclasses.replace(cell, scenario="respond"), counts),
                         301)


class FlaggedRoundsTest(unittest.TestCase):
    """One flagged round neither counts nor stars the cell; where most are flagged, both."""

    DEAR = Cell("respond", "default", "ordered-list", "eager", 5000)

    def row(self, flagged: set[int], kind: str = "load") -> Row:
        def change(sample: dict) -> None:
            if sample["kind"] == kind and sample["round"] in flagged:
                sample["flags"] = ["steal"]
                if kind == "load":
                    sample["cpu"]["us_per_request"] *= 10

        found = rows_of(change=change, rounds=3)
        return next(r for r in found if r.cell == self.DEAR)

    def test_it_does_not_count_and_is_said(self) -> None:
        clean, one = self.row(set()), self.row({2})
        self.assertEqual(list(one.cpu_us_by_round), [1, 3])
        self.assertLess(one.cpu_us, 2 * clean.cpu_us)
        self.assertEqual((one.flags, one.rounds_left_out, one.flags_left_out), ([], 1, ["steal"]))
        self.assertEqual(one.comparison.n, 2)
        self.assertNotIn("*", content._overview_cell(one).text)
        self.assertEqual(content._flags(one).text, "1 of 3 rounds left out (steal)")
        self.assertIn("1 of 3 rounds left out (steal)", validity.flagged([one]).rows[0][2].text)

    def test_most_rounds_flagged_count_with_a_star(self) -> None:
        most = self.row({1, 2})
        self.assertEqual(len(most.cpu_us_by_round), 3)
        self.assertEqual((most.flags, most.rounds_left_out), (["steal"], 0))
        self.assertIn("*", content._overview_cell(most).text)

    def test_a_flagged_profile_or_count_has_a_star_of_its_own(self) -> None:
        profiled, counted = self.row({1, 2, 3}, "profile"), self.row({1, 2, 3}, "syscalls")
        self.assertTrue(content._timer_share(profiled).text.endswith("*"))
        self.assertTrue(content.timer_us_text(profiled).text.endswith("*"))
        self.assertTrue(content._syscalls(counted).text.endswith("*"))
        self.assertFalse(content._timer_share(counted).text.endswith("*"))
        self.assertEqual((profiled.flags, counted.flags), ([], []))
        self.assertFalse(content._timer_share(self.row({1}, "profile")).text.endswith("*"))


class BaselineTest(unittest.TestCase):
    def test_the_control_if_there_is_one(self) -> None:
        group = [row("hierarchical-wheel", {1: 9.0}), row("none", {1: 8.0})]
        self.assertEqual(analysis.baseline_of(group).cell.backend, "none")

    def test_else_the_wheel_else_nothing(self) -> None:
        wheel, heap = row("hierarchical-wheel", {1: 9.0}), row("binary-heap", {1: 9.0})
        self.assertIs(analysis.baseline_of([heap, wheel]), wheel)
        self.assertIsNone(analysis.baseline_of([heap]))

    def test_the_control_is_not_compared_with_itself(self) -> None:
        compared = {r.cell.variant for r in rows_of(profiles=False) if r.comparison}
        self.assertEqual(compared, {"ordered-list eager", "ordered-list lazy",
                                    "hierarchical-wheel eager", "hierarchical-wheel lazy"})

    def test_blocks_pair_the_rounds_both_have(self) -> None:
        pairs = analysis._blocks(row("asio", {1: 2.0, 3: 6.0}),
                                 row("none", {1: 1.0, 2: 9.0, 3: 3.0}))
        self.assertEqual(pairs, [(2.0, 1.0), (6.0, 3.0)])


class VerdictTest(unittest.TestCase):
    def words(self, low: float, high: float, p: float, n: int = 10) -> str:
        found = Comparison("none", 1.0, low, high, p, n=n)
        analysis.judge([found], 0.01)
        return content.verdict_words(found)

    def test_the_four_words(self) -> None:
        self.assertEqual(self.words(1.2, 1.3, 0.002), "slower")
        self.assertEqual(self.words(0.7, 0.8, 0.002), "faster")
        self.assertEqual(self.words(0.998, 1.004, 0.6), "no difference within ±1.0%")
        self.assertEqual(self.words(0.9, 1.2, 0.6), "inconclusive")

    def test_too_few_rounds_say_so(self) -> None:
        self.assertIn("3 rounds, 6 needed for a verdict", self.words(1.2, 1.3, 0.25, n=3))

    def test_the_a_a_series_widens_what_counts_as_none(self) -> None:
        twice = [row("none", {1: 10.0, 2: 10.0}), row("none", {1: 10.4, 2: 10.1}, alias="A/A")]
        self.assertAlmostEqual(analysis.noise_margin(twice), 0.04)
        self.assertEqual(analysis.noise_margin(twice[:1]), analysis.LEAST_MARGIN)


class SentencesTest(unittest.TestCase):
    def test_names_the_dearest_where_it_is_dearest(self) -> None:
        text = " ".join(content.opening(rows_of()))
        self.assertRegex(text, r"At 5\u202f000 connections ordered-list eager costs [\d.]+ µs")
        self.assertRegex(text, r"Within 10 % of none: .*hierarchical-wheel \(.*eager")
        self.assertRegex(text, r"by connections: [\d.]+ at 400, [\d.]+ at 5\u202f000\.")

    def test_one_backend_without_a_control(self) -> None:
        text = " ".join(content.opening(rows_of(backends=["ordered-list"])))
        self.assertIn("none of them is a control", text)

    def test_the_control_alone(self) -> None:
        self.assertIn("Only none was measured", content.opening(rows_of(backends=["none"]))[0])


class ContentTest(unittest.TestCase):
    def test_the_overview_has_a_row_a_variant_and_a_column_a_level(self) -> None:
        table = content.overview(rows_of())
        self.assertEqual([h.text for h in table.headers],
                         ["backend", "S1, 400", "S1, 5\u202f000"])
        self.assertEqual(table.rows[0][0].text, "ordered-list eager")
        self.assertEqual(table.rows[-1][0].text, "none")

    def test_columns_nobody_has_are_gone(self) -> None:
        bare = content.details(rows_of(profiles=False, syscalls=False))
        self.assertFalse(any("timer" in h.text or "syscalls" in h.text for h in bare.headers))
        whole = content.details(rows_of())
        self.assertTrue(any("timer share" == h.text for h in whole.headers))

    def test_an_invalid_cell_is_listed_with_its_flags(self) -> None:
        bad = row("asio", {1: 9.0}, valid_rounds=0, flags=["steal"])
        table = validity.flagged([bad, row("none", {1: 9.0})])
        self.assertEqual([[c.text for c in line] for line in table.rows],
                         [[bad.cell.label, "0 of 1", "steal"]])

    def test_the_a_a_series_stands_beside_what_it_repeats(self) -> None:
        again = row("none", {1: 11.0}, alias="A/A")
        table = validity.same_against_same([row("none", {1: 10.0}), again], 1)
        self.assertEqual(table.rows[0][3].text, "1.10\u202f×")

    def test_every_figure_of_a_row_survives_json(self) -> None:
        self.assertEqual(dataclasses.asdict(rows_of()[0])["cell"]["scenario"], "respond")
