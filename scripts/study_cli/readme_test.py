"""scripts/README.md lists the fields, presets, flags and exit codes that there are."""

import contextlib
import io
import re
import unittest
from pathlib import Path

from harness import gates, measure, plan
from report.analysis import Row
from results import errors, manifest, schema
from results.sample import Sample
from study_cli import commands
from study_cli.arguments import parser

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def tables(heading: str) -> list[str]:
    """The lines of the tables under a heading."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    return [line for line in found[1].splitlines() if line.startswith("|")]


def first_column(heading: str) -> list[str]:
    return [line.split(" | ")[0].strip("| ") for line in tables(heading)]


def fields_of_the_manifest() -> list[str]:
    cells = first_column("manifest.json")[2:]
    return [field for cell in cells for field in cell.strip("`").split("`, `")]


class Fields(unittest.TestCase):
    def test_each_file_lists_exactly_its_fields_with_unit_and_meaning(self) -> None:
        for heading, fields in (("samples.jsonl", schema.described(Sample)),
                                ("results.json", schema.described(Row))):
            with self.subTest(heading=heading):
                self.assertEqual(tables(heading), schema.table(fields).splitlines())

    def test_every_row_about_the_manifest_has_a_meaning(self) -> None:
        # commands_test.py compares the fields with those of a manifest that was written.
        for line in tables("manifest.json"):
            self.assertRegex(line, r"^\| [^|]+ \| [^|]* \| [^|]+ \|$")
        self.assertIn(f"`{manifest.SCHEMA}`", tables("manifest.json")[2])


class Lists(unittest.TestCase):
    def test_presets_and_workloads(self) -> None:
        known = [line.split("`")[1] for line in first_column("Presets") if "`" in line]
        self.assertEqual(known, [*plan.PRESETS, "respond", "respond+short", "increasing-timeout",
                                 "mixed"])
        self.assertEqual(set(known[-4:]), set(plan.WORKLOADS))

    def test_the_numbers_of_measurements(self) -> None:
        backends = [f"b{i}" for i in range(9)] + plan.STUDY_BACKENDS
        for line in tables("Presets")[2:2 + len(plan.PRESETS)]:
            columns = [column.strip() for column in line.split("|")]
            made = plan.settings(columns[1].split("`")[1], backends, {})
            self.assertEqual(int(columns[5]), len(plan.measurements(made)), line)

    def test_exit_codes(self) -> None:
        known = [int(code) for code in first_column("Continue, and exit codes") if code.isdecimal()]
        self.assertEqual(known, [errors.DONE, errors.BAD_USAGE, errors.CANNOT, errors.INVALID,
                                 errors.INTERRUPTED])

    def test_the_flags_of_gates(self) -> None:
        known = {flag.strip("`") for flag in first_column("Method")[2:]}
        source = "".join(Path(module.__file__).read_text(encoding="utf-8")
                         for module in (gates, measure))
        named = set(re.findall(r'^        "(\w+)": ', source, re.MULTILINE)) | {"failed"}
        self.assertEqual(known, named)


class Commands(unittest.TestCase):
    def test_every_command_is_listed_and_every_flag_exists(self) -> None:
        listed = {line.split()[1].strip("`") for line in first_column("Commands") if "scripts/study" in line}
        self.assertEqual(listed, {"run", "profile", *commands.COMMANDS})
        for line in re.findall(r"scripts/study ([^`\n]*)", README):
            name = line.split()[0] if line.split() else ""
            if name in listed:
                text = self.help_of(name)
                for flag in re.findall(r"(?<!\S)--?[a-z][a-z-]*", line):
                    self.assertIn(flag, text, line)

    def help_of(self, command: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            parser().parse_args([command, "--help"])
        return out.getvalue()


if __name__ == "__main__":
    unittest.main()
