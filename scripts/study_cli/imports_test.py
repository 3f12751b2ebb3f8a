"""Who imports whom: harness -> results <- report, study_cli above them, and no circle anywhere."""

import ast
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "results": set(),
    "harness": {"results"},
    "report": {"results"},
    "study_cli": {"harness", "report", "results"},
}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages by its full name; a package has the name of its __init__."""
    files = (path for package in MAY_IMPORT for path in sorted((root / package).glob("*.py")))
    return {f"{path.parent.name}.{path.stem}".removesuffix(".__init__"): path for path in files}


def imported(tree: ast.AST, package: str,
             known: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Modules that are imported anywhere in the file, functions included, and the names taken."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, []) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = package if node.level else ""
            source = ".".join(filter(None, (prefix, node.module)))
            for each in node.names:
                inner = f"{source}.{each.name}"
                yield (inner, []) if inner in known else (source, [each.name])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "__import__")):
            yield ast.unparse(node.args[0]).strip("'\""), []


def faults(root: Path) -> list[str]:
    known, arrows, found = modules(root), {}, []
    for name, path in known.items():
        package = name.partition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        arrows[name] = set()
        for other, names in imported(tree, package, known):
            home = other.partition(".")[0]
            if home in MAY_IMPORT and home not in MAY_IMPORT[package] | {package}:
                found.append(f"{name} imports {other}")
            if home in MAY_IMPORT:
                found += [f"{name} imports the private {other}.{each}" for each in names
                          if each.startswith("_")]
            if other in known and other != name:
                arrows[name].add(other)
        if "sys.path" in {ast.unparse(node) for node in ast.walk(tree)
                          if isinstance(node, ast.Attribute)}:
            found.append(f"{name} touches sys.path")
    return found + circles(arrows)


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Take away what imports nothing that is left, again and again; a circle stays."""
    left = dict(arrows)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return [f"in a circle, or above one: {', '.join(sorted(left))}"] if left else []


class Imports(unittest.TestCase):
    def test_every_arrow_points_down_and_there_is_no_circle(self) -> None:
        self.assertGreater(len(modules(SCRIPTS)), 40)
        self.assertEqual(faults(SCRIPTS), [])


class Planted(unittest.TestCase):
    """The test above can fail."""

    def faults(self, **sources: str) -> list[str]:
        with tempfile.TemporaryDirectory() as scratch:
            for package in MAY_IMPORT:
                Path(scratch, package).mkdir()
                Path(scratch, package, "__init__.py").touch()
            for name, source in sources.items():
                Path(scratch, name.replace("__", "/") + ".py").write_text(source)
            return faults(Path(scratch))

    def test_a_forbidden_arrow_wherever_it_hides(self) -> None:
        for source in ("import report.page", "from report import page", "from report.page import x",
                       "def f():\n    from report import page",
                       "import importlib\nimportlib.import_module('report.page')",
                       "class A:\n    def f(self):\n        import report"):
            with self.subTest(source=source):
                self.assertEqual(len(self.faults(harness__a=source, report__page="x = 1")), 1)
        self.assertEqual(len(self.faults(results__a="from harness import b", harness__b="")), 1)
        self.assertEqual(len(self.faults(report__a="import study_cli")), 1)

    def test_a_circle_between_modules(self) -> None:
        found = self.faults(harness__a="from harness import b",
                            harness__b="def f():\n    from harness.c import x",
                            harness__c="from . import a\nx = 1")
        self.assertEqual(found, ["in a circle, or above one: harness.a, harness.b, harness.c"])

    def test_private_names_and_sys_path(self) -> None:
        found = self.faults(report__a="from results.b import _x", results__b="_x = 1",
                            harness__c="import sys\nsys.path.insert(0, '..')")
        self.assertEqual(found, ["harness.c touches sys.path",
                                 "report.a imports the private results.b._x"])

    def test_what_is_allowed_passes(self) -> None:
        found = self.faults(study_cli__a="from harness import b\nfrom report import c",
                            harness__b="from results import d", report__c="", results__d="")
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
