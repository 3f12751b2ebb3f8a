"""What the tree cites of the timer contract stands in CONTRACT.md."""

import pathlib
import re
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent
FOLDERS = ("timers", "server", "bench", "scripts", "docker")
SUFFIXES = {".cpp", ".hpp", ".md", ".py", ".txt"}
# "(CONTRACT.md, line 7)", "(CONTRACT.md, lines 1, 2 and 6)", "lines 1 to 16 of timers/CONTRACT.md"
NUMBERS = r"lines? (\d+(?:(?:, | and | to )\d+)*)"
CITATION = re.compile(rf"CONTRACT\.md, {NUMBERS}|{NUMBERS} of (?:timers/)?CONTRACT\.md")
# A number that does not say of what text it is: "Line 7:", "line 7 of the timer contract".
HOMELESS = re.compile(r"^ *(?://|#) Lines? \d+\b|\blines? \d+(?:(?:, | and | to )\d+)* of the "
                      r"timer contract", re.MULTILINE)


def sources():
    for folder in FOLDERS:
        for path in (TREE / folder).rglob("*"):
            if path.suffix in SUFFIXES and path.is_file() and path != pathlib.Path(__file__):
                yield path


def without_breaks(text: str) -> str:
    """The text with comments that go over several lines on one."""
    return re.sub(r"\n *(?://|#)? *", " ", text)


def cited(text: str) -> list[int]:
    numbers = []
    for match in CITATION.finditer(without_breaks(text)):
        numbers += [int(number) for number in re.findall(r"\d+", match[1] or match[2])]
    return numbers


class Contract(unittest.TestCase):
    def setUp(self):
        text = (HERE / "CONTRACT.md").read_text()
        self.lines = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]

    def test_its_lines_are_numbered_from_one(self):
        self.assertEqual(self.lines, list(range(1, len(self.lines) + 1)))
        self.assertGreaterEqual(len(self.lines), 30)

    def test_each_cited_line_is_there(self):
        found = 0
        for path in sources():
            numbers = cited(path.read_text())
            found += len(numbers)
            self.assertLessEqual(set(numbers), set(self.lines), path)
        self.assertGreater(found, 80)

    def test_each_citation_names_the_text(self):
        for path in sources():
            if path.name != "CONTRACT.md":
                homeless = HOMELESS.search(path.read_text())
                self.assertIsNone(homeless, f"{path}: {homeless and homeless[0]}")

    def test_this_test_sees_citations(self):
        self.assertEqual(cited("// A (CONTRACT.md, lines 1, 2\n// and 31).\n"), [1, 2, 31])
        self.assertEqual(cited("lines 4 to 99 of timers/CONTRACT.md"), [4, 99])
        self.assertIsNotNone(HOMELESS.search("int a;\n// Line 7: never late\n"))
        self.assertIsNotNone(HOMELESS.search("as line 21 of the timer contract says"))


if __name__ == "__main__":
    unittest.main()
