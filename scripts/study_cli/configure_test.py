"""Checkouts that were moved or copied with their build folders, or lie under an odd path."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

CONFIGURE = Path(__file__).resolve().parents[1] / "configure"
PRESETS = """{"version": 3, "configurePresets": [
    {"name": "release", "generator": "Ninja", "binaryDir": "${sourceDir}/build/${presetName}"}]}"""


@unittest.skipUnless(shutil.which("cmake") and shutil.which("ninja"),
                     "needs cmake and ninja (scripts/setup installs them)")
class Moved(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name).resolve()
        self.first = self.folder / "first (1)"
        (self.first / "scripts").mkdir(parents=True)
        (self.first / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.22)\nproject(some LANGUAGES NONE)\n")
        (self.first / "CMakePresets.json").write_text(PRESETS)
        shutil.copy(CONFIGURE, self.first / "scripts")
        self.configure(self.first)

    def configure(self, checkout: Path, *flags: str) -> str:
        ended = subprocess.run([checkout / "scripts/configure", "release", *flags],
                               capture_output=True, text=True, timeout=100, cwd="/")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        cache = (checkout / "build/release/CMakeCache.txt").read_text()
        self.assertIn(f"CMAKE_HOME_DIRECTORY:INTERNAL={checkout}\n", cache)
        return ended.stderr

    def refused_by_cmake(self, checkout: Path) -> bool:
        return subprocess.run(["cmake", "--preset", "release"], capture_output=True,
                              cwd=checkout).returncode != 0

    def test_a_copied_one_is_configured_anew(self) -> None:
        copy = self.folder / "copy"
        shutil.copytree(self.first, copy)
        self.assertTrue(self.refused_by_cmake(copy))
        self.assertIn(f"was made for {self.first}", self.configure(copy))
        self.assertEqual(self.configure(copy), "")
        self.assertEqual(self.configure(self.first), "")

    def test_a_moved_one_too(self) -> None:
        moved = self.folder / "moved"
        self.first.rename(moved)
        self.assertTrue(self.refused_by_cmake(moved))
        self.assertIn("made anew", self.configure(moved))

    def test_one_that_stayed_keeps_what_was_set(self) -> None:
        self.configure(self.first, "-DSOMETHING=1")
        self.assertEqual(self.configure(self.first), "")
        self.assertIn("SOMETHING:", (self.first / "build/release/CMakeCache.txt").read_text())


@unittest.skipUnless(shutil.which("cmake") and shutil.which("ninja"),
                     "needs cmake and ninja (scripts/setup installs them)")
class Found(unittest.TestCase):
    """Tests are found under any path; without them, ctest would pass."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        text = (CONFIGURE.parents[1] / "CMakeLists.txt").read_text(encoding="utf-8")
        self.function = re.search(r"^function\(find_files .*?^endfunction\(\)$", text, re.M | re.S)[0]
        self.folder = Path(scratch.name).resolve()

    def configure(self, name: str, *files: str) -> subprocess.CompletedProcess:
        folder = self.folder / name
        (folder / "inner").mkdir(parents=True)
        for file in files:
            (folder / file).touch()
        (folder / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.22)\nproject(some LANGUAGES NONE)\n" + self.function +
            '\nfind_files(found *_test.py inner/*_test.py)\nmessage(STATUS "found: ${found}")\n')
        return subprocess.run(["cmake", "-G", "Ninja", "-S", folder, "-B", folder / "build"],
                              capture_output=True, text=True, timeout=100)

    def test_brackets_and_other_signs_of_patterns(self) -> None:
        for name in ("plain", "tree [1]", "tree (1)", "[a-z]", "a]b[", "star*", "what?", "ü {x}"):
            with self.subTest(name=name):
                ended = self.configure(name, "a_test.py", "inner/b_test.py", "other.py")
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assertIn("found: a_test.py;inner/b_test.py\n", ended.stdout)

    def test_nothing_found_is_an_error(self) -> None:
        self.assertNotEqual(self.configure("empty", "other.py").returncode, 0)


if __name__ == "__main__":
    unittest.main()
