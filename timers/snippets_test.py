"""Each piece of C++ in the texts compiles, without a warning.

A piece becomes the body of a member function of `Session`, whose members testing/snippets.hpp has.
It is a coroutine if it says co_await. The compiler names the line of the text."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = ("README.md", "MIGRATION.md")
# What a piece declares, to show how, need not be used in it.
FLAGS = ["-std=c++20", "-fsyntax-only", f"-I{HERE.parent}", "-Wall", "-Wextra", "-Wpedantic",
         "-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Wno-unused-local-typedefs",
         "-Werror"]


def pieces(text: str) -> list[tuple[int, str]]:
    """Each piece of C++, and the number of its first line."""
    found = re.finditer(r"^```cpp\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, piece.start(1)) + 1, piece[1]) for piece in found]


def function(name: str, line: int, piece: str) -> str:
    body = re.sub(r"^#include .*$", "", piece, flags=re.MULTILINE)
    result = "asio::awaitable<void>" if "co_await" in piece else "void"
    return (f"struct At{line} : Session {{\n{result} run() {{\n"
            f'#line {line} "{name}"\n{body}}}\n}};\n')


def program(name: str, text: str) -> str:
    """What includes the headers that the pieces include, and has them as functions."""
    found = pieces(text)
    includes = [include for _, piece in found
                for include in re.findall(r"^#include .*\n", piece, re.MULTILINE)]
    return "".join(['#include "timers/testing/snippets.hpp"\n', *includes,
                    *(function(name, *piece) for piece in found)])


def errors(source: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write(source)
        file.flush()
        done = subprocess.run([os.environ["COMPILER"], *FLAGS, file.name], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode != 0 else ""


class Snippets(unittest.TestCase):
    def test_each_piece_compiles(self):
        for name in TEXTS:
            with self.subTest(name):
                text = (HERE / name).read_text()
                self.assertEqual(len(pieces(text)), text.count("```cpp"))
                self.assertGreaterEqual(len(pieces(text)), 3)
                self.assertEqual(errors(program(name, text)), "")

    def test_this_test_sees_an_error_and_its_line(self):
        text = "# A\n\n```cpp\nco_await timer_.async_wait(net::use_awaitable);\nint no = nothing;\n```\n"
        self.assertRegex(errors(program("A.md", text)), r"A\.md:5:\d+: error: .*nothing")


if __name__ == "__main__":
    unittest.main()
