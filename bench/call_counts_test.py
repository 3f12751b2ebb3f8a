"""Heap allocations and system calls of keep-alive requests, counted in a running release server.

    python3 bench/call_counts_test.py --print

prints them per request.
"""

import collections
import os
import pathlib
import struct
import sys
import tempfile
import time
import unittest
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = os.environ.get("CALL_COUNTS_LIBRARY", str(ROOT / "build/release/bench/libcall_counts.so"))
os.environ.setdefault("IDLEWHEEL_SERVER", str(ROOT / "build/release/server/idlewheel-server"))
sys.path.insert(0, str(ROOT / "server"))
from testing import BINARY, Server, backends  # noqa: E402: once it is said which binary

ALLOCATIONS = ("malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc",
               "posix_memalign")
# What a turn of a connection takes, which answers all that the client has written at once.
ONCE_A_TURN = frozenset({"recv", "send", "epoll_wait", "epoll_ctl"})
# What server/loop_probe.hpp takes every 100 ms. Nothing else is ever called.
ONCE_A_PROBE = frozenset({"timerfd_settime", "read", "epoll_wait", "epoll_ctl"})
PROBE_PERIOD_S = 0.1
# What a wheel with rounds takes when it comes by a slot: each tick once, while idle timers lie there.
ONCE_A_TICK = {"hashed-wheel": collections.Counter(epoll_wait=1, timerfd_settime=2)}
TICK_S = 0.001
# The list of all request timers, which goes with the last of them and is made anew for the next.
MORE_A_TURN = {("duration-lists", "eager"): frozenset({"malloc"})}

CONNECTIONS = 100
# Connections that send at a time, requests pipelined on each, turns.
LOADS = ((1, 1, 2000), (CONNECTIONS, 1, 20), (1, 16, 200), (CONNECTIONS, 16, 2))
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:4242\r\n\r\n"  # as wrk sends it
ANSWER = b"HTTP/1.1 200 OK\r\n"


class CountedServer(Server):
    """A server that counts its calls, with many idle connections."""

    def __init__(self, *flags: str):
        self.table = tempfile.NamedTemporaryFile()
        super().__init__(*flags, environment={"LD_PRELOAD": LIBRARY,
                                              "CALL_COUNTS": self.table.name})

    def __enter__(self):
        super().__enter__()
        self.clients = [self.connect() for _ in range(CONNECTIONS)]
        self.answer_bytes = len(self.get(self.clients[0]))
        return self

    def __exit__(self, failed, *rest):
        for client in self.clients:
            client.close()
        super().__exit__(failed, *rest)
        self.table.close()

    def calls(self) -> collections.Counter:
        """Of each function until now. After an answer a call or two of its turn are yet to come."""
        self.table.seek(0)
        rows = struct.iter_unpack("24sQ", self.table.read())
        return collections.Counter({name.rstrip(b"\0").decode(): calls for name, calls in rows})

    @staticmethod
    def get(client) -> bytes:
        client.sendall(REQUEST)
        return client.recv(1000)


class Load:
    """Requests as a client sends them, turn by turn, on so many connections at a time."""

    def __init__(self, server: CountedServer, connections: int, pipelined: int):
        self.server = server
        self.clients = server.clients[:connections]
        self.pipelined = pipelined
        self.answers = b""  # to one client, in one turn

    def turn(self):
        for client in self.clients:
            client.sendall(REQUEST * self.pipelined)
        for client in self.clients:
            self.read_answers(client)

    def read_answers(self, client):
        self.answers = b""
        while len(self.answers) < self.pipelined * self.server.answer_bytes:
            piece = client.recv(65536)
            assert piece, "the server has closed the connection"
            self.answers += piece
        assert self.answers.count(ANSWER) == self.pipelined, self.answers

    def until_the_date_changes(self):
        first = self.answers
        while self.answers == first:
            yield


class Counted:
    """What a load took, once all buffers are as large as they will be."""

    def __init__(self, load: Load, turns: Iterable):
        for _ in range(3):
            load.turn()
        began_s = time.monotonic()
        before = load.server.calls()
        self.turns = 0
        for _ in turns:
            load.turn()
            self.turns += len(load.clients)
        self.calls = load.server.calls() - before
        self.took_s = time.monotonic() - began_s
        self.requests = self.turns * load.pipelined


def allocations(calls: collections.Counter) -> int:
    return sum(calls[function] for function in ALLOCATIONS)


def count_loads(server: CountedServer) -> dict[str, Counted]:
    return {f"{connections} at a time, {pipelined} pipelined":
            Counted(Load(server, connections, pipelined), range(turns))
            for connections, pipelined, turns in LOADS}


class CallCounts(unittest.TestCase):
    def setUp(self):
        for built in (LIBRARY, BINARY):
            self.assertTrue(os.path.exists(built), "to build it: cmake --preset release && "
                            "cmake --build --preset release --target call_counts idlewheel-server")

    def check(self, counted: Counted, more_a_turn: frozenset[str] = frozenset(),
              once_a_tick: collections.Counter = collections.Counter()):
        self.assertGreaterEqual(counted.calls["recv"], counted.turns)
        self.assertGreaterEqual(counted.calls["send"], counted.turns)
        most = collections.Counter()
        for function in ONCE_A_TURN | more_a_turn:
            most[function] += counted.turns
        for function in ONCE_A_PROBE:
            most[function] += int(counted.took_s / PROBE_PERIOD_S) + 2  # one from the turn before
        for function, calls in once_a_tick.items():
            most[function] += calls * (int(counted.took_s / TICK_S) + 1)
        self.assertEqual(counted.calls - most, {}, f"too many, in {counted.turns} turns")

    def test_a_turn_allocates_nothing_and_calls_the_kernel_four_times(self):
        variants = [("hierarchical-wheel", "lazy")]
        variants += [(name, "eager") for name in backends() if name != "asio"]
        for backend, rearm in variants:
            with CountedServer("--timer-backend", backend, "--rearm", rearm) as server:
                for load, counted in count_loads(server).items():
                    with self.subTest(backend=backend, rearm=rearm, load=load):
                        self.check(counted, MORE_A_TURN.get((backend, rearm), frozenset()),
                                   ONCE_A_TICK.get(backend, collections.Counter()))

    def test_also_when_the_date_changes(self):
        with CountedServer() as server:
            load = Load(server, 1, 1)
            self.check(Counted(load, load.until_the_date_changes()))

    def test_a_timer_programmed_per_request_would_be_seen(self):
        with CountedServer("--timer-backend", "asio", "--rearm", "eager") as server:
            counted = Counted(Load(server, 1, 1), range(100))
            self.assertGreaterEqual(counted.calls["timerfd_settime"], counted.turns - 1)

    def test_allocations_would_be_seen(self):
        with CountedServer() as server:
            before = server.calls()
            with server.connect() as client:
                server.get(client)
                connected = server.calls()
                client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"
                               + bytes(500_000))
                self.assertTrue(client.recv(1000).startswith(ANSWER))
                echoed = server.calls()
            self.assertGreater(allocations(connected - before), 0)
            self.assertGreater(allocations(echoed - connected), 0)


def show() -> str:
    columns = ["recv", "send", "epoll_wait", "epoll_ctl", "timerfd_settime"]
    lines = [["per request", *columns, "all system calls", "allocations"]]
    with CountedServer() as server:
        for load, counted in count_loads(server).items():
            counts = [counted.calls[column] for column in columns]
            counts += [counted.calls.total() - allocations(counted.calls),
                       allocations(counted.calls)]
            lines.append([load, *(f"{count / counted.requests:.3f}" for count in counts)])
    return "\n".join(f"{name:30}" + "".join(f"{cell:>18}" for cell in cells)
                     for name, *cells in lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(show())
    else:
        unittest.main()
