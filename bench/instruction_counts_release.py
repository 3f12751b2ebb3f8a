"""Instructions that timer operations and requests take in the release build, counted by callgrind.

A count, unlike a time, is the same on a busy machine. When one is meant to change:

    python3 bench/instruction_counts_release.py --print build/release/bench/instruction_counts

prints the table below as it is now.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

# Per operation, the loop around it included: the floor is that loop and a call that does one store.
# g++ 12 at -O3 for x86-64.
EXPECTED = """
                         rearm  rearm-lazy  rearm-eager       arm    disarm  advance-nothing-due
floor                     10.4        11.3         11.3      10.0       9.0                  9.0
unordered-list            27.5        20.3         90.3      23.0      12.0                 14.0
ordered-list            5020.5        20.3       5083.3    2518.5      12.0                 12.0
ordered-list-rear         26.5        20.3         89.3      22.0      12.0                 12.0
binary-heap              107.6        20.3        172.4      56.0      66.0                 12.0
quad-heap                108.5        20.3        173.3      64.0      66.6                 12.0
quick-heap               124.3        20.3        189.1     118.8      19.0                 12.0
rb-tree                  350.9        20.3        413.8     213.5      97.2                 12.0
simple-wheel              74.9        20.3        156.5      49.1      48.4                 98.0
hashed-wheel-sorted       79.9        20.3        140.4      53.0      42.2                102.3
hashed-wheel              74.9        20.3        135.5      49.1      42.2                104.5
hierarchical-wheel        34.9        20.3         96.3      54.0      40.2                 41.0
duration-lists            64.6        20.3        125.3      80.2     288.3                 18.0
min-array                 25.5        20.3         90.3      52.2      16.0                 12.0
                       request  request-pipelined
server                  1389.1             1187.4
"""

# How much a count may grow: an instruction or a few. Of a request's thousands, 15 % would be two
# allocations.
MOST_ABOVE = 0.15
MOST_ABOVE_OF_SERVER = 0.05
# What got so much better could get as much worse again, unseen.
MOST_BELOW = 0.25

# The C library's memchr() and the like in the one version that every processor can run.
SAME_EVERYWHERE = "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-SSSE3"


def parse(table: str) -> dict[str, float]:
    """By "subject/operation". A line that names no subject names the operations of the next."""
    expected: dict[str, float] = {}
    operations: list[str] = []
    for line in table.strip("\n").splitlines():
        if line.startswith(" "):
            operations = line.split()
        else:
            subject, *cells = line.split()
            expected |= {f"{subject}/{operation}": float(cell)
                         for operation, cell in zip(operations, cells, strict=True)}
    return expected


def width(operation: str) -> int:
    return max(len(operation), 8) + 2


def show(counts: dict[str, float]) -> str:
    rows: dict[str, dict[str, float]] = {}
    for name, counted in counts.items():
        subject, operation = name.split("/")
        rows.setdefault(subject, {})[operation] = counted
    lines, operations = [], []
    for subject, row in rows.items():
        if operations != list(row):
            operations = list(row)
            lines.append(f"{'':20}" + "".join(f"{name:>{width(name)}}" for name in operations))
        lines.append(f"{subject:20}" + "".join(f"{counted:{width(name)}.1f}"
                                               for name, counted in row.items()))
    return "\n".join(lines)


def count(program: str) -> dict[str, float]:
    """Instructions per operation, by the names the program gives them."""
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder, "profile")
        ended = subprocess.run(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes",
             f"--callgrind-out-file={profile}", program],
            env={**os.environ, "GLIBC_TUNABLES": SAME_EVERYWHERE},
            capture_output=True, text=True, timeout=240)
        if ended.returncode != 0:
            raise RuntimeError(f"{program} exited with {ended.returncode}:\n{ended.stderr}")
        parts = re.findall(r"^desc: Trigger: Client Request: (\S+)$.*?^totals: (\d+)$",
                           profile.read_text(), re.MULTILINE | re.DOTALL)
    operations = dict(line.split() for line in ended.stdout.splitlines())
    return {name: int(total) / int(operations[name]) for name, total in parts}


@unittest.skipUnless(shutil.which("valgrind"), "needs valgrind (scripts/setup installs it)")
class InstructionCounts(unittest.TestCase):
    def test_stay_what_they_are(self):
        counts = count(os.environ["INSTRUCTION_COUNTS"])
        expected = parse(EXPECTED)
        self.assertLessEqual(set(expected), set(counts))
        for name, counted in counts.items():
            with self.subTest(name):
                if name in expected:
                    self.compare(name, counted, expected[name])
                else:
                    print(f"{name}: {counted:.1f} instructions; not in the table")

    def compare(self, name: str, counted: float, expected: float):
        change = counted / expected - 1
        told = f"{name}: {counted:.1f} instructions, {expected:.1f} expected ({change:+.0%})"
        if change > (MOST_ABOVE_OF_SERVER if name.startswith("server/") else MOST_ABOVE):
            self.fail(told)
        if change < -MOST_BELOW:
            self.fail(f"{told}: update the table, with --print")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--print"]:
        print(show(count(sys.argv[2])))
    else:
        unittest.main()
