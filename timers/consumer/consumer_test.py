"""Somebody else's project can take the library: installed, or from a checkout. It compiles with no
flags but its own, however strict these are, and keeps the frames of the timers' operations when it
asks for them. It may do without exceptions and run-time type information."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
# Small functions: a compiler that may inline them does.
FRAMES = ("timers::run_action", "timers::HierarchicalWheel::disarm")
STRICT = ("-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wold-style-cast -Wshadow "
          "-Wdouble-promotion -Wnull-dereference -Wcast-qual -Wcast-align -Wundef -Wformat=2 "
          "-Wswitch-enum -Wextra-semi -Wnon-virtual-dtor -Woverloaded-virtual "
          "-Wmissing-declarations -Werror").split()
# g++ warns of null pointers inside Asio's any_io_executor, whoever uses it.
STRICT_OF = {"g++": ["-Wuseless-cast", "-Wlogical-op", "-Wduplicated-cond", "-Wduplicated-branches",
                     "-Wsuggest-override", "-Wno-null-dereference"],
             # Not what complains about C++98, padding, virtual functions in headers, or the static
             # object by which Asio knows a service.
             "clang++": ["-Weverything", "-Wno-c++98-compat", "-Wno-c++98-compat-pedantic",
                         "-Wno-padded", "-Wno-weak-vtables", "-Wno-global-constructors",
                         "-Wno-exit-time-destructors"]}
COMPILERS = [compiler for compiler in STRICT_OF if shutil.which(compiler)]
WITHOUT = (["-fno-exceptions"], ["-fno-rtti"], ["-fno-exceptions", "-fno-rtti"])


def strict_flags(compiler: str) -> list[str]:
    return STRICT + STRICT_OF["clang++" if "clang" in pathlib.Path(compiler).name else "g++"]


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

    def configure(self, *settings: str) -> dict[str, str]:
        """The commands that compile each target, less the flags of the project itself."""
        flags = " ".join(["-O1", *strict_flags(os.environ["COMPILER"])])
        run(os.environ["CMAKE"], "-G", "Ninja", "-S", HERE, "-B", self.scratch / "build",
            "-DCMAKE_CXX_COMPILER=" + os.environ["COMPILER"], "-DCMAKE_CXX_FLAGS=" + flags,
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *settings)
        commands = {}
        for entry in json.loads((self.scratch / "build/compile_commands.json").read_text()):
            self.assertIn(f" {flags} ", entry["command"])
            target = re.search(r" -o (?:\S+/)?CMakeFiles/([\w-]+)\.dir/", entry["command"])[1]
            commands[target] = entry["command"].replace(f" {flags} ", " ")
        return commands

    def build(self, *targets: str):
        run(os.environ["CMAKE"], "--build", self.scratch / "build", "--target", *targets)
        for program in targets:
            run(self.scratch / "build" / program)

    def compile(self, compiler: str, *sources: str, flags=()) -> pathlib.Path:
        """A program made by hand, with the checkout as any other folder of headers."""
        program = self.scratch / "program"
        run(compiler, "-std=c++20", "-pthread", f"-I{CHECKOUT}", *flags,
            *(HERE / source for source in sources), "-o", program)
        return program

    def check(self, setting: str, headers: pathlib.Path):
        commands = self.configure(setting)
        self.build("consumer", "consumer_with_frames")
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
        self.check(f"-DCMAKE_PREFIX_PATH={prefix}", prefix / "include/idlewheel")

    def test_from_a_checkout(self):
        self.check(f"-DIDLEWHEEL={CHECKOUT}", CHECKOUT)

    def test_from_a_checkout_with_boost_as_targets_of_the_project(self):
        boost = self.scratch / "headers"
        boost.mkdir()
        (boost / "boost").symlink_to("/usr/include/boost")
        commands = self.configure(f"-DIDLEWHEEL={CHECKOUT}", f"-DBOOST={boost}")
        self.assertIn(str(boost), commands["consumer"])
        self.build("consumer")

    def test_no_warning_of_the_project_applies_to_our_own_programs_inside_it(self):
        server = os.environ["SERVER"]  # off where the libraries that it needs are missing
        commands = self.configure(f"-DIDLEWHEEL={CHECKOUT}", "-DIDLEWHEEL_EXAMPLES=ON",
                                  f"-DIDLEWHEEL_SERVER={server}")
        ours = set(commands) - {"consumer", "consumer_with_frames"}
        expected = {"echo_server", "idlewheel_server"} if server == "ON" else {"echo_server"}
        self.assertLessEqual(expected, ours)
        for target in ours:
            self.assertIn(" -w ", commands[target], target)
            self.assertNotIn(" -W", commands[target], target)
        run(os.environ["CMAKE"], "--build", self.scratch / "build", "--target", "echo_server")

    def test_every_header_compiles_under_strict_warnings(self):
        for compiler in COMPILERS:
            with self.subTest(compiler):
                run(self.compile(compiler, "everything.cpp",
                                 flags=["-O1", *strict_flags(compiler)]))

    def test_without_exceptions_or_type_information(self):
        for compiler in COMPILERS:
            for flags in WITHOUT:
                with self.subTest(compiler=compiler, flags=flags):
                    program = self.compile(compiler, "without_asio.cpp", flags=flags)
                    run(program)
                    if "-fno-exceptions" in flags:
                        self.check_ends_with_a_message(program)

    def check_ends_with_a_message(self, program: pathlib.Path):
        refused = subprocess.run([program, "refused"], capture_output=True, text=True)
        self.assertEqual(refused.returncode, -signal.SIGABRT)
        self.assertEqual(refused.stderr, "timers: a tick must be longer than zero\n")

    def test_with_asio_without_exceptions_or_type_information(self):
        for compiler in COMPILERS:
            with self.subTest(compiler):
                run(self.compile(compiler, "main.cpp", "throw_exception.cpp",
                                 flags=["-fno-exceptions", "-fno-rtti"]))


if __name__ == "__main__":
    unittest.main()
