"""How a Python test passes, fails or is skipped: exit codes, and what CTest makes of them."""

import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent
RUNNER = SCRIPTS / "unittest_run.py"

PASSES = """
    def test_passes(self):
        pass
"""
FAILS = """
    def test_fails(self):
        self.fail("wrong")
"""
SKIPS = """
    @unittest.skip("needs wrk")
    def test_skips(self):
        pass
    @unittest.skip("needs wrk")
    def test_skips_too(self):
        pass
"""
SUBTEST_FAILS = """
    def test_subtests(self):
        for number in range(2):
            with self.subTest(number=number):
                self.assertEqual(number, 0)
"""


def file_of(*tests: str) -> str:
    return "import unittest\nclass Some(unittest.TestCase):\n    pass\n" + "".join(tests)


def run(folder: pathlib.Path, *command, **environment: str) -> subprocess.CompletedProcess:
    """Runs a command that knows nothing of the CTest which this test may be part of."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith("IDLEWHEEL_")}
    return subprocess.run(command, cwd=folder, env={**inherited, **environment},
                          capture_output=True, text=True, timeout=60)


class Runner(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.told = self.folder / "skipped.txt"

    def run_on(self, *tests: str, **environment: str) -> subprocess.CompletedProcess:
        return self.run_on_text(file_of(*tests), **environment)

    def run_on_text(self, text: str, **environment: str) -> subprocess.CompletedProcess:
        (self.folder / "some_test.py").write_text(text)
        return run(self.folder, sys.executable, RUNNER, "some_test",
                   IDLEWHEEL_SKIPPED=str(self.told), **environment)

    def test_all_passed(self):
        ended = self.run_on(PASSES)
        self.assertEqual((ended.returncode, ended.stdout), (0, ""), ended.stderr)

    def test_a_failure(self):
        self.assertEqual(self.run_on(PASSES, FAILS).returncode, 1)

    def test_a_skipped_test_gives_its_reason_once(self):
        ended = self.run_on(PASSES, SKIPS)
        line = "skipped: some_test.Some.test_skips and 1 more: needs wrk\n"
        self.assertEqual((ended.returncode, ended.stdout), (77, line), ended.stderr)
        self.assertEqual(self.told.read_text(), line)

    def test_a_skipped_test_hides_no_failure(self):
        for failing in (FAILS, SUBTEST_FAILS):
            with self.subTest(failing=failing):
                ended = self.run_on(PASSES, SKIPS, failing)
                self.assertEqual(ended.returncode, 1, ended.stderr)
                self.assertIn("needs wrk", ended.stdout)

    def test_a_file_may_be_skipped_as_a_whole(self):
        ended = self.run_on_text(textwrap.dedent("""\
            import unittest
            def setUpModule():
                raise unittest.SkipTest("needs perf")
            class Some(unittest.TestCase):
                def test_passes(self):
                    pass
            """))
        self.assertEqual(ended.returncode, 77, ended.stderr)
        self.assertIn("needs perf", ended.stdout)

    def test_where_nothing_may_be_skipped_it_is_a_failure(self):
        self.assertEqual(self.run_on(PASSES, IDLEWHEEL_SKIP_NOTHING="1").returncode, 0)
        self.assertEqual(self.run_on(PASSES, SKIPS, IDLEWHEEL_SKIP_NOTHING="1").returncode, 1)

    def test_what_the_machine_refuses_may_be_skipped_even_there(self) -> None:
        for what in ("io_uring", "a network namespace", "h2o"):
            refused = SKIPS.replace("needs wrk", f"{what} is not available: a sandbox forbids it")
            ended = self.run_on(PASSES, refused, IDLEWHEEL_SKIP_NOTHING="1")
            self.assertEqual(ended.returncode, 77, ended.stderr)
            self.assertIn("not available: a sandbox forbids it", self.told.read_text())
        mixed = refused + SKIPS.replace("test_skips", "test_also")
        self.assertEqual(self.run_on(mixed, IDLEWHEEL_SKIP_NOTHING="1").returncode, 1)

    def test_no_test_at_all_is_a_failure(self):
        self.assertEqual(self.run_on().returncode, 1)

    def test_a_file_that_cannot_be_loaded_is_a_failure(self):
        for text in ("import nothing_of_this_name", "raise SystemExit(77)", "raise SystemExit(0)"):
            with self.subTest(text=text):
                self.assertEqual(self.run_on_text(text).returncode, 1)


class UnderCTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        for name, tests in {"passing": PASSES, "skipping": PASSES + SKIPS,
                            "failing": SKIPS + FAILS}.items():
            (cls.folder / f"{name}_test.py").write_text(file_of(tests))
        (cls.folder / "CMakeLists.txt").write_text(textwrap.dedent("""\
            cmake_minimum_required(VERSION 3.22)
            project(some LANGUAGES NONE)
            enable_testing()
            include("${SCRIPTS}/python_tests.cmake")
            foreach(name passing skipping failing)
              add_python_test(${name} ${name}_test)
            endforeach()
            """))
        run(cls.folder, "cmake", f"-DSCRIPTS={SCRIPTS}", "-S", ".", "-B", "build").check_returncode()

    def ctest(self, tests: str, **environment: str) -> subprocess.CompletedProcess:
        return run(self.folder, "ctest", "--test-dir", "build", "-R", tests, **environment)

    def test_a_skipped_test_is_reported_with_its_reason(self):
        for _ in range(2):  # the reasons of the first run are gone in the second
            ended = self.ctest("passing|skipping")
            self.assertEqual(ended.returncode, 0, ended.stdout)
            self.assertRegex(ended.stdout, r"passing .* +Passed")
            self.assertRegex(ended.stdout, r"skipping .*\*\*\*Skipped")
            self.assertEqual(ended.stdout.count("test_skips and 1 more: needs wrk\n"), 1)

    def test_a_failure_is_reported_as_one(self):
        ended = self.ctest("failing")
        self.assertNotEqual(ended.returncode, 0)
        self.assertRegex(ended.stdout, r"failing .*\*\*\*Failed")

    def test_where_nothing_may_be_skipped_ctest_fails(self):
        ended = self.ctest("skipping", IDLEWHEEL_SKIP_NOTHING="1")
        self.assertNotEqual(ended.returncode, 0)
        self.assertRegex(ended.stdout, r"skipping .*\*\*\*Failed")

    def test_nothing_may_be_skipped_in_scripts_test(self):
        self.assertIn("\nexport IDLEWHEEL_SKIP_NOTHING=1\n", (SCRIPTS / "test").read_text())


if __name__ == "__main__":
    unittest.main()
