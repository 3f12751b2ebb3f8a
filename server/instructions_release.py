"""A test of the release server: how many instructions a keep-alive request takes in user mode.

bench/instruction_counts_release.py counts an exchange alone. Here the whole server runs under callgrind,
with its sockets, its event loop and its timers. The linker keeps one copy of each inline function, and
only the whole server shows which one.

    IDLEWHEEL_SERVER=build/release/server/idlewheel-server \\
        python3 server/instructions_release.py --print

prints the counts.
"""

import pathlib
import re
import sys
import tempfile
import unittest

from testing import GET_OF_WRK, Server, needs

# Per request, by the number of requests in one write. g++ 12 at -O3 for x86-64.
EXPECTED = {1: 2947, 16: 1303}
# Timers of the event loop run now and then, so the counts vary by less than one percent.
MOST_ABOVE = 0.04
TURNS = 1000

# callgrind, and the C library's memchr() and the like in the version that every processor can run.
CALLGRIND = ("valgrind", "--tool=callgrind")
SAME_EVERYWHERE = {"GLIBC_TUNABLES":
                   "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-SSSE3"}


def instructions(pipelined: int, turns: int) -> int:
    """All that a server executes that answers so many turns of pipelined requests."""
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder, "profile")
        with (Server(environment=SAME_EVERYWHERE,
                     under=(*CALLGRIND, f"--callgrind-out-file={profile}")) as server,
              server.connect() as client):
            client.sendall(GET_OF_WRK)
            size = len(client.recv(1 << 20)) * pipelined
            for _ in range(turns):
                client.sendall(GET_OF_WRK * pipelined)
                left = size
                while left > 0:
                    left -= len(client.recv(left))
        return int(re.search(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)[1])


def per_request(pipelined: int) -> float:
    """Starting and stopping cancel out between a short life of the server and a longer one."""
    longer, short = instructions(pipelined, 2 * TURNS), instructions(pipelined, TURNS)
    return (longer - short) / TURNS / pipelined


@needs("valgrind")
class Instructions(unittest.TestCase):
    def test_a_request_takes_no_more_than_it_did(self):
        for pipelined, expected in EXPECTED.items():
            with self.subTest(pipelined=pipelined):
                counted = per_request(pipelined)
                self.assertLess(counted, expected * (1 + MOST_ABOVE),
                                f"{counted / expected - 1:+.1%} instructions per request")


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        for requests in EXPECTED:
            print(f"{requests} pipelined: {per_request(requests):.0f} instructions per request")
    else:
        unittest.main()
