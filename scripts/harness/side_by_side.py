"""study servers and study windows: whole servers, ours and others, loaded alike and side by side."""

from __future__ import annotations

import random
import re
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from harness import perf, running_server
from harness.contenders import Contender
from harness.measured_server import READY_LIMIT_S, build_command, get
from harness.process import Child, cpu_s, rss_kib
from harness.window import Target
from results.errors import Failed

ADDRESS = re.compile(r"\b127\.0\.0\.1:(\d+)")
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CALL_CONNECTIONS = 100  # while system calls are counted
CALLS_S = 1.0


@contextmanager
def started(contender: Contender, cpus: list[int], connections: int,
            answers: bool = True) -> Iterator[tuple[Child, str]]:
    """The running server and its address, once it has answered a GET, if it does."""
    with tempfile.TemporaryDirectory(prefix="idlewheel-servers-") as folder:
        command = contender.command(Path(folder), connections)
        with _child(contender, command, set(cpus[:contender.cores])) as child:
            yield child, _wait_ready(contender.name, child, answers)


def _child(contender: Contender, command: list[str], cpus: set[int]) -> Child:
    try:
        return Child(command, cpus)
    except OSError as error:
        build = f"; build it: {build_command(*contender.targets)}" if contender.targets else ""
        raise Failed(f"cannot start {command[0]}: {error.strerror}{build}") from None


def _wait_ready(name: str, child: Child, answers: bool) -> str:
    limit = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < limit and child.running:
        if found := ADDRESS.search(child.output()):
            url = f"http://127.0.0.1:{found[1]}"
            if not answers:
                return url
            try:
                status, _ = get(url + "/")
                if status == 200:
                    return url
                raise Failed(f"{name} answered {status}")
            except (OSError, HTTPException):
                pass  # nginx listens a moment after it is named
        time.sleep(0.02)
    raise Failed(f"{name} was not ready: {child.last_words()}")


@dataclass(frozen=True)
class Load:
    """What wrk asks of each server."""

    connections: int
    pipeline: int
    duration_s: float


def cost_of(contender: Contender, load: Load, cpus: list[int]) -> dict:
    """CPU microseconds per request, and those in user mode; connecting is part of them."""
    with started(contender, cpus, load.connections) as (child, url):
        target = Target(url, pid=child.pid, child=child)
        figures = running_server.drive(target, load.connections, load.duration_s, {cpus[-1]},
                                       load.pipeline)
    if why := running_server.problem(figures):
        raise Failed(why)
    return {"name": contender.name, "connections": load.connections,
            "us": figures["cpu"]["us_per_request"],
            "user_us": figures["cpu"]["user_us_per_request"]}


def calls_of(contender: Contender, pipeline: int, cpus: list[int]) -> dict:
    """System calls per request, connecting included. Counting slows a server, so this is no cost."""
    with started(contender, cpus, CALL_CONNECTIONS) as (child, url):
        with perf.Recorder(perf.stat_argv(child.pid), {cpus[-1]}) as recorder:
            with recorder.switched_on():
                figures = running_server.drive(Target(url, pid=child.pid, child=child),
                                               CALL_CONNECTIONS, CALLS_S, {cpus[-1]}, pipeline)
            text = recorder.end()
    if why := running_server.problem(figures):
        raise Failed(why)
    return {"name": contender.name,
            **perf.syscalls_per(perf.parse_stat(text), figures["wrk"]["requests"])}


def idle_bytes(contender: Contender, connections: int, cpus: list[int]) -> dict:
    """Resident memory of a connection that waits after one request, and the CPU time it takes.

    Failed when the server does not keep all of them: those that are gone would make the others seem
    small.
    """
    with started(contender, cpus, connections) as (child, url), ExitStack() as stack:
        before = rss_kib(child.pid)
        port = int(url.rpartition(":")[2])
        clients = [stack.enter_context(_idle_client(number, port)) for number in range(connections)]
        bytes_each = (rss_kib(child.pid) - before) * 1024 / connections
        idle_cpu = _cpu_while_idle(child.pid)
        if closed := _closed(clients):
            raise Failed(f"closed {closed} of {connections} idle connections")
    return {"name": contender.name, "bytes": bytes_each, "idle_cpu": idle_cpu}


def _idle_client(number: int, port: int) -> socket.socket:
    """A connection that has had one answer. 200 addresses have ports enough for all of them."""
    client = socket.socket()
    try:
        client.settimeout(READY_LIMIT_S)
        client.bind((f"127.0.1.{1 + number % 200}", 0))
        client.connect(("127.0.0.1", port))
        client.sendall(GET)
        if not client.recv(4096).startswith(b"HTTP/1.1 200"):
            raise Failed(f"did not answer on connection {number + 1}")
    except BaseException as error:
        client.close()
        if isinstance(error, OSError):
            raise Failed(f"connection {number + 1}: {error.strerror or error}") from None
        raise
    return client


def _closed(clients: list[socket.socket]) -> int:
    """How many of them the server has closed."""
    waiting = select.poll()
    for client in clients:
        waiting.register(client, select.POLLRDHUP)
    return len(waiting.poll(0))


def _cpu_while_idle(pid: int, seconds: float = 3.0) -> float:
    time.sleep(1)
    before = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before) / seconds


@dataclass
class Results:
    """What was measured so far; a server that fails keeps what it had, with the reason."""

    samples: list[dict] = field(default_factory=list)
    memory: list[dict] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # the first reason of each server
    calls: list[dict] = field(default_factory=list)
    uncounted: str = ""  # why system calls cannot be counted here

    def present(self, entries: list[Contender]) -> list[Contender]:
        """Those that this machine can have; the others have failed before they began."""
        for entry in entries:
            if why := entry.absent():
                self.failures[entry.name] = why
                print(f"{entry.name}: left out: {why}", file=sys.stderr)
        return [entry for entry in entries if entry.name not in self.failures]

    def attempt(self, name: str, words: str, measure: Callable[[], dict], into: list[dict]) -> bool:
        try:
            into.append(measure())
            return True
        except (Failed, OSError, HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.failures.setdefault(name, f"{words}: {reason}")
            print(f"{name}: {words}: failed: {reason}", file=sys.stderr)
            return False


def run(found: Results, entries: list[Contender], loads: list[Load], rounds: int, seed: int,
        cpus: list[int]) -> None:
    """Every server under every load once a round, in an order drawn anew each round.

    A server that fails under a load is not asked again under that one.
    """
    order = random.Random(seed)
    failed = set()
    for number in range(rounds):
        pairs = [(entry, load) for entry in entries for load in loads]
        order.shuffle(pairs)
        for entry, load in pairs:
            words, place = f"{load.connections} connections", (entry.name, load.connections)
            if place in failed:
                continue
            if not found.attempt(entry.name, words, lambda: cost_of(entry, load, cpus),
                                 found.samples):
                failed.add(place)
                continue
            print(f"round {number + 1}/{rounds}: {words}, {entry.name}: "
                  f"{found.samples[-1]['us']:.2f} us", file=sys.stderr)


def weigh(found: Results, entries: list[Contender], connections: int, cpus: list[int]) -> None:
    """The memory of each server's idle connections."""
    for entry in entries:
        found.attempt(entry.name, f"{connections} idle connections",
                      lambda: idle_bytes(entry, connections, cpus), found.memory)


def count_calls(found: Results, entries: list[Contender], pipeline: int, cpus: list[int]) -> None:
    """The system calls of each server, where perf may count them."""
    found.uncounted = perf.trial_of_tracepoints()
    if found.uncounted:
        print(f"note: system calls are not counted: {found.uncounted}", file=sys.stderr)
        return
    for entry in entries:
        if found.attempt(entry.name, "counting system calls",
                         lambda: calls_of(entry, pipeline, cpus), found.calls):
            each = ", ".join(f"{name} {count:.2f}" for name, count in found.calls[-1].items()
                             if name != "name" and count >= 0.005)
            print(f"{entry.name}: system calls per request: {each}", file=sys.stderr)
