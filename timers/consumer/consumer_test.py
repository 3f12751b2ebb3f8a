"""Somebody else's project can take the library: installed, or from a checkout. It compiles with no
flags but its own, and keeps the frames of the timers' operations when it asks for them."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
# Small functions: a compiler that may inline them does.
FRAMES = ("timers::run_action", "timers::HierarchicalWheel::disarm")


def run(*command) -> str:
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{command} failed:\n{done.stdout}")
    return done.stdout


class Consumer(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def build(self, where_from: str) -> dict[str, str]:
        """Builds both programs and runs them; returns the command that compiled each."""
        build = self.scratch / "build"
        run(os.environ["CMAKE"], "-G", "Ninja", "-S", HERE, "-B", build,
            "-DCMAKE_CXX_COMPILER=" + os.environ["COMPILER"], "-DCMAKE_CXX_FLAGS=-O1",
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", where_from)
        run(os.environ["CMAKE"], "--build", build)
        for program in ("consumer", "consumer_with_frames"):
            run(build / program)
        commands = json.loads((build / "compile_commands.json").read_text())
        return {re.search(r" -o CMakeFiles/(\w+)\.dir/", entry["command"])[1]: entry["command"]
                for entry in commands}

    def check(self, commands: dict[str, str], headers: pathlib.Path):
        self.assertEqual(set(commands), {"consumer", "consumer_with_frames"})
        for program, command in commands.items():
            with self.subTest(program):
                words = shlex.split(command)
                self.assertIn(("-isystem", str(headers)), zip(words, words[1:]))
                self.assertNotIn(f"-I{headers}", words)
                wanted = program == "consumer_with_frames"
                self.assertEqual("TIMERS_KEEP_FRAMES" in command, wanted)
                if "clang" not in os.environ["COMPILER"]:
                    self.assertEqual("-fno-ipa-icf" in command, wanted)
                symbols = run("nm", "-C", self.scratch / "build" / program)
                for frame in FRAMES:
                    self.assertEqual(frame in symbols, wanted, frame)
        self.assertNotIn(" -f", commands["consumer"])
        self.assertNotIn(" -W", commands["consumer"])

    def test_installed(self):
        prefix = self.scratch / "prefix"
        run(os.environ["CMAKE"], "--install", os.environ["BUILD"], "--prefix", prefix)
        self.check(self.build(f"-DCMAKE_PREFIX_PATH={prefix}"), prefix / "include/idlewheel")

    def test_from_a_checkout(self):
        self.check(self.build(f"-DIDLEWHEEL={CHECKOUT}"), CHECKOUT)


if __name__ == "__main__":
    unittest.main()
