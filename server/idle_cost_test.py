"""The warning about timers that wake an idle server up again and again."""

import re
import subprocess
import unittest

import testing
from testing import Server

WARNING = ("--tick 1us with --timer-backend hashed-wheel: 1000 idle connections wake a thread up to "
           "490000 times a second; take --tick 1ms or longer, or --timer-backend hierarchical-wheel")


def said(*flags: str) -> list[str]:
    """The lines that a server with these flags writes to standard error."""
    with Server(*flags) as server:
        pass
    return server.errors.splitlines()


class IdleCost(unittest.TestCase):
    def test_a_short_tick_with_the_wheel_of_rounds_is_one_warning(self):
        lines = said("--timer-backend=hashed-wheel", "--tick=1us", "--threads=2")
        self.assertEqual([line for line in lines if WARNING in line], lines[:1])
        self.assertIn("[warning]", lines[0])

    def test_with_any_other_backend_and_by_default_there_is_none(self):
        for backend in testing.backends():
            ticks = {"hashed-wheel": ["1ms"], "simple-wheel": ["1ms"]}.get(backend, ["1us", "1ms"])
            for tick in ticks:
                with self.subTest(backend=backend, tick=tick):
                    self.assertNotIn("idle connections",
                                     "".join(said("--timer-backend", backend, "--tick", tick)))

    def test_the_help_of_tick_names_the_costly_backends(self):
        help_text = subprocess.run([testing.BINARY, "--help"], capture_output=True, text=True,
                                   check=True).stdout
        tick = " ".join(re.search(r"--tick .*?(?=\n +--)", help_text, re.DOTALL)[0].split())
        self.assertIn("hashed-wheel", tick)
        self.assertIn("simple-wheel", tick)

    def test_whoever_asks_for_errors_alone_sees_none(self):
        self.assertEqual(said("--timer-backend=hashed-wheel", "--tick=1us", "--log-level=error"), [])


if __name__ == "__main__":
    unittest.main()
