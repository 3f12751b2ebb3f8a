"""Tests of a release server: how often keep-alive requests allocate and call the kernel.

libcall_counts.so is preloaded into the server and counts its calls in a file (call_counts.cpp).

    python3 server/call_counts_release.py --print build/release/server

prints the counts per request.
"""

import collections
import os
import pathlib
import signal
import struct
import sys
import tempfile
import time
import unittest
from collections.abc import Iterable

if sys.argv[1:2] == ["--print"]:
    BUILT = pathlib.Path(sys.argv[2]).resolve()
    os.environ["CALL_COUNTS_LIBRARY"] = str(BUILT / "libcall_counts.so")
    os.environ["IDLEWHEEL_SERVER"] = str(BUILT / "idlewheel-server")
LIBRARY = os.environ["CALL_COUNTS_LIBRARY"]
from testing import BINARY, GET_OF_WRK, Server, backends  # noqa: E402: it reads IDLEWHEEL_SERVER

ALLOCATIONS = ("malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc",
               "posix_memalign")
ENTER = "io_uring_submit_and_get_events"
# The most calls that one turn of a connection makes, with each transport. A turn answers everything
# that one read has brought. The worst case is a round of the event loop with one turn. The set of
# sockets is then waited for anew (epoll_ctl) and asked as well as the loop itself (epoll_wait). A ring
# is entered to fetch, to send, and perhaps in vain, and its eventfd is read to empty it and to wait.
A_TURN = {
    "epoll": collections.Counter(recv=1, send=1, epoll_wait=2, epoll_ctl=1),
    "io_uring": collections.Counter({ENTER: 3, "read": 2, "epoll_wait": 1}),
}
# Calls that the loop probe (loop_probe.hpp) makes every 100 ms, and those of a round that has no turn
# but that one. A server of keep-alive requests makes no others.
A_PROBE = {
    "epoll": collections.Counter(timerfd_settime=1, read=1, epoll_wait=2, epoll_ctl=2),
    "io_uring": collections.Counter({ENTER: 2, "timerfd_settime": 1, "read": 2, "epoll_wait": 2,
                                     "epoll_ctl": 1}),
}
PROBE_PERIOD_S = 0.1
# Calls that a wheel with rounds makes each time its hand reaches the slot of an idle timer. That
# happens at most once per tick.
ONCE_A_TICK = {"hashed-wheel": collections.Counter(epoll_wait=1, timerfd_settime=2)}
TICK_S = 0.001
# duration-lists frees the list of a timeout with its last timer, and allocates it again for the next
# timer. The request timers share such a list.
MORE_A_TURN = {("duration-lists", "eager"): frozenset({"malloc"})}

CONNECTIONS = 100
# Number of connections that send at the same time, requests pipelined on each, number of turns.
LOADS = ((1, 1, 2000), (CONNECTIONS, 1, 20), (1, 16, 200), (CONNECTIONS, 16, 2))
ANSWER = b"HTTP/1.1 200 OK\r\n"


class CountedServer(Server):
    """A server that counts its calls, with many idle connections."""

    def __init__(self, *flags: str, io: str = "epoll"):
        self.io = io
        self.table = tempfile.NamedTemporaryFile()
        # The variable is a list that spaces and colons divide, so that no name of the path to the
        # build may stand in it.
        library = os.path.relpath(LIBRARY, pathlib.Path(BINARY).parent)
        super().__init__(*flags, io=io, environment={"LD_PRELOAD": f"$ORIGIN/{library}",
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
        """Calls of each function so far. After an answer, a call or two of its turn may follow."""
        self.table.seek(0)
        rows = struct.iter_unpack("40sQ", self.table.read())
        return collections.Counter({name.rstrip(b"\0").decode(): calls for name, calls in rows})

    @staticmethod
    def get(client) -> bytes:
        client.sendall(GET_OF_WRK)
        return client.recv(1000)


class Load:
    """Clients that send requests in turns, on a number of connections at the same time."""

    def __init__(self, server: CountedServer, connections: int, pipelined: int):
        self.server = server
        self.clients = server.clients[:connections]
        self.pipelined = pipelined
        self.answers = b""  # the bytes that one client got in one turn

    def turn(self):
        for client in self.clients:
            client.sendall(GET_OF_WRK * self.pipelined)
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
    """The calls that a load took, after a few turns in which buffers grow to their final size."""

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
        self.io = load.server.io


# Asio keeps so many blocks of memory for the handlers of a thread. It makes one anew whenever a
# handler comes that needs more than it has kept, which is rare, and may be at any time.
BLOCKS_OF_ASIO = 2


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
        most = collections.Counter(dict.fromkeys(more_a_turn, counted.turns))
        for function, calls in A_TURN[counted.io].items():
            most[function] += calls * counted.turns
        for function, calls in A_PROBE[counted.io].items():
            # One probe more than whole periods, and one call of the turn before the count.
            most[function] += calls * (int(counted.took_s / PROBE_PERIOD_S) + 2)
        for function, calls in once_a_tick.items():
            most[function] += calls * (int(counted.took_s / TICK_S) + 1)
        most["aligned_alloc"] += BLOCKS_OF_ASIO
        self.assertEqual(counted.calls - most, {}, f"too many, in {counted.turns} turns")

    def check_loads(self, backend: str, rearm: str, io: str):
        with CountedServer("--timer-backend", backend, "--rearm", rearm, io=io) as server:
            for load, counted in count_loads(server).items():
                with self.subTest(backend=backend, rearm=rearm, io=io, load=load):
                    self.check(counted, MORE_A_TURN.get((backend, rearm), frozenset()),
                               ONCE_A_TICK.get(backend, collections.Counter()))
                    if io == "epoll":
                        self.assertGreaterEqual(counted.calls["recv"], counted.turns)
                        self.assertGreaterEqual(counted.calls["send"], counted.turns)

    def test_a_turn_allocates_nothing_and_calls_the_kernel_five_times(self):
        self.check_loads("hierarchical-wheel", "lazy", "epoll")
        for backend in backends():
            if backend != "asio":
                self.check_loads(backend, "eager", "epoll")

    def test_with_io_uring_it_reads_and_sends_nothing_of_its_own(self):
        self.check_loads("hierarchical-wheel", "lazy", "io_uring")
        self.check_loads("hierarchical-wheel", "eager", "io_uring")

    # The server is stopped until all clients have sent, so that how many turns share a round is not up
    # to the machine.
    def test_busy_connections_share_the_calls_of_a_round(self):
        for io in A_TURN:
            with self.subTest(io=io), CountedServer(io=io) as server:
                load = Load(server, CONNECTIONS, 1)
                load.turn()  # a ring looks once for a reset behind the first bytes of a connection
                server.process.send_signal(signal.SIGSTOP)
                for client in load.clients:
                    client.sendall(GET_OF_WRK)
                before = server.calls()
                server.process.send_signal(signal.SIGCONT)
                for client in load.clients:
                    load.read_answers(client)
                calls = (server.calls() - before).total() / CONNECTIONS
                self.assertLess(calls, 2.3 if io == "epoll" else 0.3)

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
    columns = ["recv", "send", ENTER, "read", "epoll_wait", "epoll_ctl", "timerfd_settime"]
    lines = [["calls per request", *(column[:15] for column in columns), "all of them",
              "allocations"]]
    for io in A_TURN:
        with CountedServer(io=io) as server:
            for load, counted in count_loads(server).items():
                counts = [counted.calls[column] for column in columns]
                counts += [counted.calls.total() - allocations(counted.calls),
                           allocations(counted.calls)]
                lines.append([f"{io}, {load}",
                              *(f"{count / counted.requests:.3f}" for count in counts)])
    return "\n".join(f"{name:40}" + "".join(f"{cell:>17}" for cell in cells)
                     for name, *cells in lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--print"]:
        print(show())
    else:
        unittest.main()
