"""A test of the release build: what the timeouts of a request on Beast take in user mode, counted.

A count, unlike a time, is the same on a busy machine. beast_timeouts.cpp says what each kind is.

    BEAST_TIMEOUTS=build/release/bench/beast_timeouts \\
        python3 bench/servers/beast_timeouts_release.py --print

prints the counts.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

# How many instructions more than `none` a kind may take of what another takes more than it.
MOST = [
    ("wheel-stream", "stream", 0.20),
    ("idle", "stream", 0.20),
    ("wheel-timer", "timer", 1.40),
    ("rearm", "timer", 0.45),
    ("cancel", "hand-cancel", 0.85),
]
CONNECTIONS = 20
TURNS = 100
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:4242\r\n\r\n"
PATIENCE_S = 60
TRIES = 3  # a count is 2 % larger when the server wakes up for fewer connections at a time


def instructions(kind: str, turns: int) -> int:
    """All that a server executes that answers so many requests of each connection."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        profile = pathlib.Path(folder, "profile")
        server = stack.enter_context(subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}",
             os.environ["BEAST_TIMEOUTS"], kind],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        stack.callback(server.kill)
        port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                   for _ in range(CONNECTIONS)]
        for _ in range(turns):
            for client in clients:
                client.sendall(REQUEST)
            for client in clients:
                client.recv(4096)
        server.terminate()
        server.wait(PATIENCE_S)
        return int(re.search(r"^(?:totals|summary): (\d+)$", profile.read_text(), re.MULTILINE)[1])


def per_request(kind: str) -> float:
    """Starting and stopping cancel out between a short life of the server and a longer one."""
    return (instructions(kind, 6 * TURNS // 5) - instructions(kind, TURNS // 5)) / TURNS / CONNECTIONS


@unittest.skipUnless(shutil.which("valgrind"), "needs valgrind (scripts/setup installs it)")
class Timeouts(unittest.TestCase):
    def test_ours_take_so_much_of_what_others_take(self) -> None:
        counts = {name: per_request(name) for name in {"none"}.union(*(p[:2] for p in MOST))}

        def share(ours: str, theirs: str) -> float:
            return (counts[ours] - counts["none"]) / (counts[theirs] - counts["none"])

        for ours, theirs, most in MOST:
            for _ in range(TRIES - 1):
                if share(ours, theirs) < most:
                    break
                for name in ("none", ours, theirs):
                    counts[name] = min(counts[name], per_request(name))
            with self.subTest(ours=ours, theirs=theirs):
                self.assertLess(share(ours, theirs), most, f"{counts}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        for name in ("none", "stream", "wheel-stream", "idle", "timer", "wheel-timer", "rearm",
                     "hand-cancel", "cancel"):
            print(f"{name}: {per_request(name):.0f} instructions per request", flush=True)
    else:
        unittest.main()
