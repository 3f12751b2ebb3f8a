"""A small result folder for the tests, in the format `scripts/study` writes.

The numbers come from a formula (a walk that grows with the connections, a little seeded noise), so
that a test knows which backend must come out dear; they are nobody's measurement.
"""

from __future__ import annotations

import contextlib
import json
import random
import unittest
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from report import page
from results import folded, journal, manifest as manifests
from results.cell import CONTROL, IO_URING, Cell, Measurement
from results.groups import Groups
from results.sample import (TIMER_COUNTS, WRK_ERRORS, Cpu, Host, Latency, Lateness, Sample, Totals,
                            Window, WrkReport)

# Frames of the server as fold.py writes them; symbols_release.py looks for ours in the built server.
BASE = ["idlewheel-serve", "_start", "main", "server::serve", "asio::scheduler::run"]
TURN = BASE + ["asio::[plumbing]", "server::Connection::on_input"]
REST = {
    "server::RequestParser::put": 1.6,
    "server::ResponseFormatter::append_any": 0.4,
    "server::EpollSet::send_queued;__libc_sendmsg;entry_SYSCALL_64_after_hwframe_[k];"
    "tcp_sendmsg_[k]": 5.2,
    "server::Channel::read;__libc_recvmsg;entry_SYSCALL_64_after_hwframe_[k];tcp_recvmsg_[k]": 2.6,
    "operator new": 0.2,
}
RING = BASE + ["server::Ring::round", "server::Ring::enter", "io_submit_sqes_[k]"]
RING_REST = {"io_send_[k];tcp_sendmsg_[k]": 4.0, "io_recv_[k];tcp_recvmsg_[k]": 2.0}
TIMER_CLASS = {"ordered-list": "timers::OrderedList", "unordered-list": "timers::UnorderedList",
               "binary-heap": "timers::BinaryHeap", "quad-heap": "timers::QuadHeap",
               "hierarchical-wheel": "timers::HierarchicalWheel"}
STACKS = 5000  # of each profile
GROUPS = Groups()
ENV = {"cpu": "Example CPU", "cores": 2, "memory_gib": 8, "virt": "kvm", "kernel": "6.1.0",
       "os": "Debian 12", "somaxconn": 4096, "port_range": [32768, 60999], "nofile": 20000,
       "aslr": 2, "perf_paranoid": 1,
       "tools": {"wrk": "4.1.0", "perf": "6.1", "compiler": "g++ 12.2"}}


@contextlib.contextmanager
def skipped_without_renderer() -> Iterator[None]:
    """A page with flame graphs needs their renderer, which npm installs."""
    try:
        yield
    except page.MissingTool:
        raise unittest.SkipTest("needs d3-flame-graph (scripts/setup installs it)") from None


def timer_us(cell: Cell) -> float:
    if cell.backend == CONTROL:
        return 0.0
    if cell.rearm == "lazy":
        return 0.02
    return {"ordered-list": 0.012 * cell.connections, "binary-heap": 0.25}.get(cell.backend, 0.08)


def stacks(cell: Cell) -> dict[str, float]:
    """CPU microseconds per request by folded stack."""
    if cell.io == IO_URING:
        found = {";".join(RING) + ";" + tail: us for tail, us in RING_REST.items()}
    else:
        found = {";".join(TURN) + ";" + tail: us for tail, us in REST.items()}
        found[";".join(BASE) + ";asio::epoll_reactor::run;epoll_wait;do_epoll_wait_[k]"] = 0.9
    if spent := timer_us(cell):
        frame = f"{TIMER_CLASS[cell.backend]}::rearm"
        found[";".join(TURN) + f";timers::TimerService::Timer::rearm;{frame}"] = spent
    return found


def write(folder: Path, backends=("ordered-list", "hierarchical-wheel", "none"),
          connections=(400, 5000), rearm=("eager", "lazy"), rounds=1, profiles=True, syscalls=True,
          dwarf=False, seed=1, env=None, scenario="respond", timeouts="default",
          io=("epoll",)) -> Path:
    """Writes a result folder; every argument leaves out what a partial run would lack."""
    chance = random.Random(seed)
    manifests.write(folder, {
        "schema": manifests.SCHEMA, "id": folder.name, "preset": "quick", "argv": [],
        "command": "scripts/study run --preset quick", "seed": seed, "rounds": rounds,
        "created": "2025-01-01T00:00:00Z", "git": {"sha": "0" * 40, "dirty": False},
        "label": "one round: no statistics" if rounds == 1 else f"{rounds} rounds",
        "binary": {"sha256": "ab" * 32, "version": "0.1.0"}, "env": env or ENV,
        "plan": {"backends": list(backends), "connections": list(connections),
                 "rearm": list(rearm), "scenarios": [scenario], "cells": [], "window_s": 5,
                 "settle_s": 1},
        "commands": {"server": "idlewheel-server --port 0", "wrk": "wrk -t1 -c400",
                     "perf": "perf record -e cpu-clock"}, "finished": True})
    cells = [Cell(scenario, timeouts, backend, mode, level, io=transport) for level in connections
             for transport in io
             for backend in backends for mode in (["lazy"] if backend == CONTROL else rearm)]
    kinds = ["load"] + ["syscalls"] * syscalls + ["profile"] * profiles + ["dwarf"] * dwarf
    made = [each for cell in cells for number in range(1, rounds + 1)
            for each in _samples(folder, chance, cell, number, kinds)]
    (folder / journal.SAMPLES).write_text("".join(json.dumps(each.to_json()) + "\n"
                                                  for each in made))
    return folder


def change_samples(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes each line of samples.jsonl in place."""
    path = folder / journal.SAMPLES
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    for sample in samples:
        change(sample)
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))


def fail(sample: dict, error: str) -> None:
    """Makes it the line of a measurement that could not be made."""
    kept = ("id", "kind", "round", "scenario", "timeouts", "backend", "rearm", "connections")
    for key in set(sample) - set(kept):
        del sample[key]
    sample |= {"valid": False, "flags": ["failed"], "error": error}


def _samples(folder: Path, chance: random.Random, cell: Cell, number: int,
             kinds: list[str]) -> Iterator[Sample]:
    us = sum(stacks(cell).values()) * chance.uniform(0.98, 1.02)
    for kind in kinds:
        todo = Measurement(kind, number, cell)
        found = (_load(todo, us) if kind == "load" else _syscalls(todo) if kind == "syscalls"
                 else _profile(folder, chance, todo, us))
        found.order, found.t0 = chance.randrange(100), "2025-01-01T00:00:00Z"
        yield found


def _load(todo: Measurement, us: float) -> Sample:
    moved = 0.0 if todo.cell.backend == CONTROL else 2.0 if todo.cell.rearm == "eager" else 0.001
    rps = 0.97e6 / us
    window = Window(
        window_s=5.0, requests=int(5 * rps), timed_out=0, rps=rps, bytes_out=1, writes=1,
        cpu=Cpu(user_s=1.0, sys_s=3.0, us_per_request=us, outside_s=4.0,
                utilisation=0.97 if us > 12 else 0.8),
        timers=dict.fromkeys(TIMER_COUNTS, 1) | {"expired": 0}, rss_kib=20000,
        late_us=Lateness(p50=200, p99=900, max=1500), connections_open=1,
        host=Host(steal_pct=0.1, psi_some_pct=1.0, foreign_pct=0.0))
    latency = Latency(kind="wrk_co_corrected", p50=900, p90=1500, p99=60 * us, max=90000)
    return Sample.of(
        todo, window, server_bound=us > 12, connections_asked=1,
        timers_per_request={"armed": 1.0, "rearmed": 2.0, "moved": moved, "disarmed": 1.0,
                            "expired": 0.0},
        wrk=WrkReport(requests=int(5 * rps), duration_s=5.0, latency_us=latency,
                      errors=dict.fromkeys(WRK_ERRORS, 0)),
        totals=Totals(responses=int(5 * rps), timed_out=0))


def _syscalls(todo: Measurement) -> Sample:
    if todo.cell.io == IO_URING:
        return Sample.of(todo, per_request={"total": 0.2, "io_uring_enter": 0.2})
    return Sample.of(todo, per_request={"total": 3.1, "recv": 1.5, "send": 1.0, "epoll_wait": 0.6,
                                        "timerfd_settime": 0.0})


def _profile(folder: Path, chance: random.Random, todo: Measurement, us: float) -> Sample:
    table = stacks(todo.cell)
    means = {stack: STACKS * each / sum(table.values()) for stack, each in table.items()}
    counts = Counter({tuple(stack.split(";")): max(1, round(chance.gauss(mean, mean ** 0.5)))
                      for stack, mean in means.items()})
    if todo.kind == "profile":
        folded.write_round(folder, todo.cell, todo.round, counts)
    shares = GROUPS.shares(counts)
    return Sample.of(
        todo, samples=counts.total(), lost=0, frequency=997, requests=100000, us_per_request=us,
        folded=folded.file_of(todo.cell), round_folded=folded.round_file(todo.cell, todo.round),
        shares=shares, unresolved=0.004,
        timer_us_per_request={kind: share * us for kind, share in shares["timer"].items()})
