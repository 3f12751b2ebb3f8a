"""Result folders that somebody has edited, cut or overwritten: a line and an exit code, always."""

import copy
import functools
import json
import shutil
import unittest
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

from harness import environment, measure, measured_server
from harness.environment_test import GOOD
from harness.measured_server import Binary
from harness.testing import Fakes
from report import page, testing
from results import journal, stats
from results.manifest import MANIFEST
from study_cli import arguments, commands
from study_cli.commands_test import call, figures

ABSENT = object()
WRONG = (None, "x", "", -1, 0, 1.5, 1e300, 10**400, float("nan"), True, [], [None], {},
         {"x": [{}]}, "\ud800", "../../x")
STEP = 9  # each place is tried with some of them
# Contents of whole files: cut, empty, bytes that are no text, JSON of something else.
CONTENTS = (b"", b"\n", b"{", b"null\n", b"[]\n", b"{}\n", b"3\n", b'"x"\n', b"\x00" * 100 + b"\n",
            b"\xff\xfe\x00\n", b"\x89PNG\r\n\x1a\n", b"[" * 100_000 + b"\n", b'{"a":' * 50_000 + b"\n")


def places(found: object, path: tuple = ()) -> Iterator[tuple]:
    """Where a JSON value holds something; of a list, the first place."""
    if path:
        yield path
    if isinstance(found, dict):
        for key, value in found.items():
            yield from places(value, (*path, key))
    elif isinstance(found, list) and found:
        yield from places(found[0], (*path, 0))


def with_value(found: dict, path: tuple, value: object) -> dict:
    changed = copy.deepcopy(found)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


@mock.patch.object(page, "flame_section", new=lambda *_: [])  # It needs what npm installs.
@mock.patch.object(stats, "RESAMPLES", 10)  # Intervals take most of a report's time.
@mock.patch.object(commands, "parser", new=functools.cache(arguments.parser))
class Damaged(Fakes):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.fake()
        self.whole = self.folder / "whole"
        argv = ["run", "--preset", "smoke", "--backends", "ordered-list", "--rearm", "lazy",
                "--connections", "400", "--scenario", "respond", "--server", self.server,
                "--no-report", "-o"]
        self.argv = {"run": argv, "profile": ["profile", "--server", self.server, "--no-report", "-o"]}
        self.assertEqual(self.study("run", self.whole), 0)
        self.manifest = json.loads((self.whole / MANIFEST).read_text())
        # Samples with every field that there is.
        full = testing.write(self.folder / "full", backends=("ordered-list", "none"),
                             connections=[400], rearm=["lazy"], rounds=2, dwarf=True)
        lines = (full / journal.SAMPLES).read_text().splitlines()
        self.samples = [json.loads(line) for line in lines]
        shutil.copytree(full / "profiles", self.whole / "profiles", dirs_exist_ok=True)
        self.write(self.whole)

    def study(self, command: str, folder: Path) -> int:
        """The exit code. A failure must be reported in one line."""
        known = Binary(self.server, "idlewheel-server 9.9", ["ordered-list", "none"])
        with (mock.patch.object(environment, "gather", return_value=GOOD),
              mock.patch.object(measured_server, "inspect", return_value=known),
              mock.patch.object(measured_server, "private_copy", new=nullcontext),
              mock.patch.object(environment, "fingerprint", return_value=testing.ENV),
              mock.patch.object(measure, "make_sample", side_effect=figures)):
            argv = self.argv.get(command, [command])
            more = [str(self.whole)] if command == "compare" else []
            code, _, err = call(*argv, str(folder), *more)
        self.assertIn(code, (0, 2, 3), err)
        if code:
            last = err.splitlines()[-1]
            self.assertRegex(last, "^study: ")
            self.assertLess(len(last), 700)
        return code

    def write(self, folder: Path, manifest: dict | None = None, sample: dict | None = None) -> None:
        folder.mkdir(exist_ok=True)
        samples = [sample, *self.samples[1:]] if sample else self.samples
        for name, text in ((MANIFEST, json.dumps(manifest or self.manifest)),
                           (journal.SAMPLES, "".join(json.dumps(s) + "\n" for s in samples))):
            path = folder / name
            if not path.exists() or path.read_bytes() != text.encode():  # Reading is cheaper.
                path.write_text(text)

    def try_all(self, *commands: str, **changed: dict) -> None:
        for command in commands:
            with self.subTest(command=command):
                self.write(self.whole, **changed)
                self.study(command, self.whole)

    def test_a_manifest_with_a_wrong_value_anywhere(self) -> None:
        for number, path in enumerate(places(self.manifest)):
            for value in (ABSENT, *WRONG[number % STEP::STEP]):
                with self.subTest(path=path, value=value):
                    self.try_all("report", "run", "profile",
                                 manifest=with_value(self.manifest, path, value))

    def test_a_sample_with_a_wrong_value_anywhere(self) -> None:
        kinds = {sample["kind"]: sample for sample in self.samples}
        self.assertEqual(len(kinds), 4)
        for sample in kinds.values():
            for number, path in enumerate(places(sample)):
                for value in (ABSENT, *WRONG[number % STEP::STEP]):
                    with self.subTest(kind=sample["kind"], path=path, value=value):
                        self.try_all("report", sample=with_value(sample, path, value))

    def test_files_with_other_content(self) -> None:
        for name in (MANIFEST, journal.SAMPLES):
            for content in CONTENTS:
                for command in ("report", "compare", "run", "profile"):
                    with self.subTest(name=name, content=content[:20], command=command):
                        self.write(self.whole)
                        (self.whole / name).write_bytes(content)
                        self.study(command, self.whole)

    def test_files_that_are_cut(self) -> None:
        for name in (MANIFEST, journal.SAMPLES):
            self.write(self.whole)
            content = (self.whole / name).read_bytes()
            for part in range(1, 20):
                (self.whole / name).write_bytes(content[:len(content) * part // 20])
                self.study("report", self.whole)

    def test_folders_in_the_place_of_files(self) -> None:
        for name in (MANIFEST, journal.SAMPLES):
            self.write(self.whole)
            (self.whole / name).unlink()
            (self.whole / name).mkdir()
            for command in ("report", "run", "profile"):
                self.assertNotEqual(self.study(command, self.whole), 0)
            (self.whole / name).rmdir()

    def test_folded_stacks_with_other_content(self) -> None:
        files = sorted((self.whole / "profiles").rglob("*.folded"))
        self.assertTrue(files)
        for content in CONTENTS + (b"a;b -1\n", b"a;b 1e9\n", b"a 99999999999999999999999\n", b" 1\n"):
            for file in files:
                file.write_bytes(content)
            with self.subTest(content=content[:20]):
                self.study("report", self.whole)


if __name__ == "__main__":
    unittest.main()
