"""The owner groups and the frames of the fixtures, held against the symbols of a release server.

IDLEWHEEL_SERVER names the binary: IDLEWHEEL_SERVER=FILE python3 -m unittest symbols_release
"""

import json
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from harness import fold_test
from harness.fold import parse, shorten
from report import testing
from results import groups_test
from results.groups import RULES, Groups

OPERATIONS = ("arm", "rearm", "disarm", "advance", "pop_expired")
# Outside the concept: asio is one steady_timer per timer, none has no timers.
WITHOUT_OPERATIONS = {"asio", "none"}
OURS = re.compile(r"^\^(server|timers)::")


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


def functions(binary: str) -> set[str]:
    """Names of the functions, as they appear in a profile."""
    found = re.finditer(r"^[0-9a-f]+ [tTwW] (.*)$", output("nm", "-C", binary), re.MULTILINE)
    return {shorten(match[1]) for match in found}


def class_of(backend: str) -> str:
    return "timers::" + "".join(word.capitalize() for word in backend.split("-"))


@unittest.skipUnless(shutil.which("nm"), "needs nm (scripts/setup installs it)")
class Symbols(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.binary = os.environ.get("IDLEWHEEL_SERVER", "")
        if not cls.binary:
            raise AssertionError("IDLEWHEEL_SERVER must name the release build's idlewheel-server")
        cls.functions, cls.groups = functions(cls.binary), Groups()

    def test_every_pattern_of_our_own_code_matches_a_function(self) -> None:
        rules = json.loads(RULES.read_text(encoding="utf-8"))
        patterns = [p for rule in rules["rules"] for p in rule["match"] if OURS.match(p)]
        self.assertGreater(len(patterns), 5)
        for pattern in [*patterns, rules["barrier"]]:
            with self.subTest(pattern=pattern):
                self.assertTrue(any(re.search(pattern, name) for name in self.functions))

    def test_each_rule_of_our_own_code_gets_functions_of_its_own(self) -> None:
        """No rule is hidden behind an earlier one."""
        ours = [name for name in self.functions if re.match("(server|timers)::", name)]
        found = {self.groups.of(name) for name in ours}
        self.assertEqual(found, {"timer", "parser", "write", "other"})

    def test_the_operations_of_every_backend_are_frames_of_the_timer(self) -> None:
        listing = output(self.binary, "--list-timer-backends")
        backends = [line.split("\t")[0] for line in listing.splitlines()]
        self.assertGreater(len(backends), 10)
        for backend in set(backends) - WITHOUT_OPERATIONS:
            for operation in OPERATIONS:
                name = f"{class_of(backend)}::{operation}"
                with self.subTest(name=name):
                    self.assertIn(name, self.functions)
                    self.assertEqual(self.groups.of(name), "timer")

    def test_the_asio_baseline_is_the_timers(self) -> None:
        found = [name for name in self.functions
                 if re.match(r"timers::Asio(?!Driver)\w*::.*\brearm$", name)]
        self.assertTrue(found)
        self.assertEqual({self.groups.of(name) for name in found}, {"timer"})

    def test_an_action_is_the_servers(self) -> None:
        self.assertIn("timers::run_action", self.functions)
        self.assertEqual(self.groups.of("timers::run_action"), "other")

    def test_reading_a_request_is_the_parsers_and_formatting_an_answer_is_writing(self) -> None:
        for name, group in (("server::RequestParser::put", "parser"),
                            ("server::ResponseFormatter::append_any", "write"),
                            ("server::WriteQueue::front", "write")):
            self.assertIn(name, self.functions)
            self.assertEqual(self.groups.of(name), group)

    def test_the_fixtures_name_frames_that_exist(self) -> None:
        texts = [Path(groups_test.__file__).read_text(encoding="utf-8"),
                 *(frame for stack in parse(fold_test.SCRIPT).stacks for frame in stack),
                 *testing.TURN, *testing.RING, *testing.REST, "timers::TimerService::Timer::rearm",
                 *(f"{name}::rearm" for name in testing.TIMER_CLASS.values())]
        named = {name for text in texts
                 for name in re.findall(r"\b(?:server|timers)::[\w:]*\w", text)}
        self.assertGreater(len(named), 15)
        self.assertEqual(named - self.functions, set())


if __name__ == "__main__":
    unittest.main()
