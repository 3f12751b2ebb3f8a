import tempfile
import unittest
from collections import Counter
from pathlib import Path

from results import folded
from results.cell import Cell

CELL = Cell("respond", "short", "asio", "eager", 400)


class Text(unittest.TestCase):
    def test_there_and_back(self) -> None:
        stacks = Counter({("a", "operator new", "b c"): 3, ("a",): 1})
        self.assertEqual(folded.from_text(folded.to_text(stacks)), stacks)

    def test_sums_equal_stacks_and_keeps_spaces_in_names(self) -> None:
        found = folded.from_text("a;operator new 2\n\na;operator new 3\na 1\n")
        self.assertEqual(found, {("a", "operator new"): 5, ("a",): 1})

    def test_refuses_a_line_without_a_count(self) -> None:
        with self.assertRaisesRegex(ValueError, "line 2"):
            folded.from_text("a 1\na;b\n")

    def test_rounds_add_up(self) -> None:
        self.assertEqual(folded.merge(["a;b 1\na;c 2\n", "a;b 4\n"]), "a;b 5\na;c 2\n")


class Files(unittest.TestCase):
    def test_each_round_has_its_file_and_the_profile_is_all_of_them(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            folded.write_round(folder, CELL, 1, Counter({("a",): 1}))
            folded.write_round(folder, CELL, 2, Counter({("a",): 2, ("b",): 1}))
            self.assertEqual((folder / folded.file_of(CELL)).read_text(), "a 3\nb 1\n")
            self.assertEqual((folder / folded.round_file(CELL, 1)).read_text(), "a 1\n")
            self.assertEqual(folded.file_of(CELL), "profiles/respond+short-asio-eager-400.folded")


if __name__ == "__main__":
    unittest.main()
