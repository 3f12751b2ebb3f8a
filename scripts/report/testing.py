"""A small results folder for the tests, in the format `scripts/study` writes.

The numbers come from a formula (a walk that grows with the connections, a little seeded noise), so
that a test knows which backend must come out dear; they are nobody's measurement.
"""

from __future__ import annotations

import contextlib
import json
import random
import unittest
from collections.abc import Iterator
from pathlib import Path

from report import page

BASE = ["idlewheel-server", "main", "boost::asio::io_context::run"]
TURN = BASE + ["boost::asio (dispatch)", "server::Connection::on_read"]
REST = {
    "server::Connection::parse;boost::beast::http::basic_parser::put": 1.6,
    "server::Connection::parse": 0.4,
    "server::WriteQueue::flush;sendmsg;[k] entry_SYSCALL_64;[k] tcp_sendmsg": 5.2,
    "recvmsg;[k] entry_SYSCALL_64;[k] tcp_recvmsg": 2.6,
    "operator new": 0.2,
}
TIMER_CLASS = {"ordered-list": "timers::OrderedList", "unordered-list": "timers::UnorderedList",
               "binary-heap": "timers::BinaryHeap", "asio": "timers::AsioTimers",
               "hierarchical-wheel": "timers::HierarchicalWheel"}
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


def timer_us(backend: str, rearm: str, connections: int) -> float:
    if backend == "none":
        return 0.0
    if rearm == "lazy":
        return 0.02
    return {"ordered-list": 0.012 * connections, "binary-heap": 0.25}.get(backend, 0.08)


def stacks(backend: str, rearm: str, connections: int) -> dict[str, float]:
    """CPU microseconds per request by folded stack."""
    found = {";".join(TURN) + ";" + tail: us for tail, us in REST.items()}
    found[";".join(BASE) + ";epoll_wait;[k] do_epoll_wait"] = 0.9
    spent = timer_us(backend, rearm, connections)
    if spent:
        frame = f"{TIMER_CLASS[backend]}::rearm"
        found[";".join(TURN) + f";timers::TimerService::rearm;{frame}"] = spent
    return found


def write(folder: Path, backends=("ordered-list", "hierarchical-wheel", "none"),
          connections=(400, 5000), rearm=("eager", "lazy"), rounds=1, profiles=True, syscalls=True,
          seed=1, env=None, scenario="respond", timeouts="default") -> Path:
    """Writes a results folder; every argument leaves out what a partial run would lack."""
    chance = random.Random(seed)
    (folder / "profiles" / "rounds").mkdir(parents=True, exist_ok=True)
    manifest = {"schema": "idlewheel/1", "id": folder.name, "preset": "quick", "argv": [],
                "command": "scripts/study run --preset quick", "seed": seed, "rounds": rounds,
                "created": "2025-01-01T00:00:00Z", "git": {"sha": "0" * 40, "dirty": False},
                "label": "one round: no statistics" if rounds == 1 else f"{rounds} rounds",
                "binary": {"sha256": "ab" * 32, "version": "0.1.0"}, "env": env or ENV,
                "plan": {"backends": list(backends), "connections": list(connections),
                         "rearm": list(rearm), "scenarios": [scenario], "cells": [],
                         "window_s": 5, "settle_s": 1},
                "commands": {"server": "idlewheel-server --port 0", "wrk": "wrk -t1 -c400",
                             "perf": "perf record -e cpu-clock"}, "finished": True}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines = []
    for level in connections:
        for backend in backends:
            for mode in (["lazy"] if backend == "none" else rearm):
                for number in range(1, rounds + 1):
                    lines += _cell(folder, chance, scenario, timeouts, backend, mode, level,
                                   number, profiles, syscalls)
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _cell(folder, chance, scenario, timeouts, backend, mode, level, number, profiles, syscalls):
    table = stacks(backend, mode, level)
    us = sum(table.values()) * chance.uniform(0.98, 1.02)
    common = {"round": number, "order": chance.randrange(100), "scenario": scenario,
              "timeouts": timeouts, "backend": backend, "rearm": mode, "connections": level,
              "alias": None, "valid": True, "flags": [], "retried": False,
              "t0": "2025-01-01T00:00:00Z"}
    stem = f"r{number:02}/{scenario}/{timeouts}/{backend}/{mode}/{level}"
    found = [{**common, "id": f"{stem}/load", "kind": "load", **_load(us, backend, mode)}]
    if syscalls:
        found.append({**common, "id": f"{stem}/syscalls", "kind": "syscalls",
                      "per_request": {"total": 3.1, "recv": 1.5, "send": 1.0, "epoll_wait": 0.6,
                                      "timerfd_settime": 0.0}})
    if profiles:
        found.append({**common, "id": f"{stem}/profile", "kind": "profile",
                      **_profile(folder, chance, table, us, scenario, timeouts, backend, mode,
                                 level, number)})
    return found


def _load(us, backend, mode):
    moved = 0.0 if backend == "none" else 2.0 if mode == "eager" else 0.001
    rps = 0.97e6 / us
    return {"window_s": 5.0, "requests": int(5 * rps), "timed_out": 0, "rps": rps,
            "server_bound": us > 12, "bytes_out": 1, "writes": 1, "rss_kib": 20000,
            "connections_open": 1,
            "cpu": {"user_s": 1.0, "sys_s": 3.0, "us_per_request": us, "utilisation": 0.97},
            "timers": {"armed": 1, "rearmed": 1, "moved": 1, "disarmed": 1, "expired": 0},
            "timers_per_request": {"armed": 1.0, "rearmed": 2.0, "moved": moved, "disarmed": 1.0,
                                   "expired": 0.0},
            "late_us": {"p50": 200, "p99": 900, "max": 1500},
            "wrk": {"requests": int(5 * rps), "latency_us": {"kind": "wrk_co_corrected",
                    "p50": 900, "p90": 1500, "p99": 60 * us, "max": 90000},
                    "errors": {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}},
            "host": {"steal_pct": 0.1, "psi_some_pct": 1.0}}


def _profile(folder, chance, table, us, scenario, timeouts, backend, mode, level, number):
    short = "+short" if timeouts == "short" else ""
    name = f"{scenario}{short}-{backend}-{mode}-{level}.folded"
    total = sum(table.values())
    counts = {stack: max(1, round(chance.gauss(5000 * us_ / total, (5000 * us_ / total) ** 0.5)))
              for stack, us_ in table.items()}
    text = "".join(f"{stack} {count}\n" for stack, count in counts.items())
    rounds = f"profiles/rounds/r{number:02}-{name}"
    (folder / rounds).write_text(text)
    (folder / "profiles" / name).write_text(text)
    samples = sum(counts.values())
    timer = sum(c for s, c in counts.items() if s.split(";")[-1] in
                {f"{c}::rearm" for c in TIMER_CLASS.values()}) / samples
    parts = {"timer": timer, "parser": 1.6 / total, "asio": 0.4 / total, "write": 0.1 / total,
             "kernel network": 7.8 / total, "kernel timer": 0.0, "allocator": 0.2 / total}
    parts["other"] = max(0.0, 1 - sum(parts.values()))
    shares = {g: {"self": v, "inclusive": v * 1.01, "owner": v} for g, v in parts.items()}
    return {"samples": samples, "lost": 0, "frequency": 997, "requests": 100000,
            "us_per_request": us, "folded": f"profiles/{name}", "round_folded": rounds,
            "shares": shares, "unresolved": 0.004,
            "timer_us_per_request": {k: v * us for k, v in shares["timer"].items()}}
