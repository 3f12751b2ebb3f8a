"""The shared tree, pruning, noise, and the study's table."""

import tempfile
import unittest
from pathlib import Path

from report import profiles, run, testing
from report.profiles import Profile, Tree
from results import folded
from results.cell import Cell
from results.errors import Unreadable

CELL = Cell("respond", "default", "ordered-list", "eager", 400)


def profile(tree: Tree, text: str, rounds=()) -> Profile:
    counts = {tree.node(list(s)): n for s, n in folded.from_text(text).items()}
    return Profile(CELL.key, CELL, 10.0, 1000, 0, [], {}, None, [], counts, list(rounds))


class TreeTest(unittest.TestCase):
    def test_the_same_stack_is_the_same_node(self) -> None:
        tree = Tree()
        self.assertEqual(tree.node(["a", "b"]), tree.node(["a", "b"]))
        self.assertNotEqual(tree.node(["a", "b"]), tree.node(["b", "b"]))
        self.assertEqual(tree.path(tree.node(["a", "b"])), ["a", "b"])

    def test_inclusive_counts(self) -> None:
        tree = Tree()
        found = profile(tree, "a;b 3\na 1\nc 2\n")
        total = profiles.inclusive(tree, found.counts)
        self.assertEqual(total[0], 6)
        self.assertEqual(total[tree.node(["a"])], 4)


class PruneTest(unittest.TestCase):
    def test_a_small_stack_is_counted_in_its_caller(self) -> None:
        tree = Tree()
        found = profile(tree, "a;b;c 1\na;b 99\na;d 900\n")
        small = profiles.prune(tree, [found], share=0.05)
        self.assertEqual(small.names, ["all", "a", "b", "d"])
        self.assertEqual(found.total, 1000)
        self.assertEqual(profiles.inclusive(small, found.counts)[2], 100)

    def test_a_stack_that_one_profile_needs_stays_for_all(self) -> None:
        tree = Tree()
        one, other = profile(tree, "a;b 500\na 500\n"), profile(tree, "a;b 1\na 999\n")
        small = profiles.prune(tree, [one, other], share=0.05)
        self.assertIn("b", small.names)
        self.assertEqual(other.counts[small.names.index("b")], 1)

    def test_rounds_are_renumbered_too(self) -> None:
        tree = Tree()
        found = profile(tree, "a;b 1\na;c 999\n")
        found.rounds = [(dict(found.counts), 10.0)]
        profiles.prune(tree, [found], share=0.05)
        self.assertEqual(found.rounds[0][0], found.counts)


class SpreadTest(unittest.TestCase):
    def test_too_few_rounds_have_none(self) -> None:
        tree = Tree()
        found = profile(tree, "a 10\n")
        found.rounds = [({1: 10}, 10.0)] * 2
        self.assertEqual(profiles.spread(tree, found), {})

    def test_the_half_width_is_students_interval(self) -> None:
        tree = Tree()
        found = profile(tree, "a;b 30\n")
        found.rounds = [({2: 10}, 9.0), ({2: 10}, 10.0), ({2: 10}, 11.0)]
        own, whole = profiles.spread(tree, found)[2]
        self.assertAlmostEqual(own, 9.925 / 3 ** 0.5, places=6)
        self.assertEqual(own, whole)
        self.assertEqual(profiles.spread(tree, found)[0][0], 0.0)


class LoadTest(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        self.folder = Path(self._dir.name) / "run"

    def test_rounds_add_up(self) -> None:
        tree = Tree()
        read = run.read(testing.write(self.folder, rounds=3))
        found = {p.cell: p for p in profiles.read(read, tree)}[CELL]
        self.assertEqual(found.total, sum(sum(c.values()) for c, _ in found.rounds))
        self.assertEqual(len(found.rounds), 3)
        times = [us for _, us in found.rounds]
        self.assertTrue(min(times) <= found.us_per_request <= max(times))

    def test_without_the_rounds_files_the_merged_one_serves(self) -> None:
        read = run.read(testing.write(self.folder))
        for path in (self.folder / "profiles" / "rounds").iterdir():
            path.unlink()
        self.assertEqual(len(profiles.read(read, Tree())), 5 * 2)

    def test_a_profile_without_its_files_is_absent(self) -> None:
        read = run.read(testing.write(self.folder))
        for path in (self.folder / "profiles").rglob("*.folded"):
            path.unlink()
        self.assertEqual(profiles.read(read, Tree()), [])


    def test_a_torn_file_is_named(self) -> None:
        read = run.read(testing.write(self.folder))
        torn = next((self.folder / "profiles" / "rounds").iterdir())
        torn.write_text("main;ru")
        with self.assertRaisesRegex(Unreadable, f"{torn.name}: line 1"):
            profiles.read(read, Tree())


class BottomUpTest(unittest.TestCase):
    def test_self_ticks_with_callers_as_shares_of_them(self) -> None:
        tree = Tree()
        found = profile(tree, "a;read;rearm 60\na;write;rearm 20\na;read 20\n")
        rearm, read = profiles.bottom_up(tree, found)
        self.assertEqual((rearm.name, rearm.ticks, rearm.share), ("rearm", 80, 0.8))
        self.assertEqual([(c.name, c.share) for c in rearm.callers],
                         [("read", 0.75), ("write", 0.25)])
        self.assertEqual((read.name, read.ticks), ("read", 20))

    def test_rare_callers_are_left_out(self) -> None:
        tree = Tree()
        found = profile(tree, "often;rearm 99\nrarely;rearm 1\n")
        self.assertEqual([c.name for c in profiles.bottom_up(tree, found)[0].callers], ["often"])
