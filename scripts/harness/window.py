"""A measuring window: two readings of all counters with steady load between them.

study run, study load and study servers all measure with the functions of this file. They differ in
where the server comes from, and in what they print.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import fmean

from harness.measured_server import read_stats
from harness.process import Child, HostTimes, cpu_s, rss_kib, user_share
from harness.wrk import Wrk
from results.errors import Failed
from results.sample import TIMER_COUNTS, Cpu, Host, Lateness, Window

OPEN_LIMIT_S = 30.0  # for all connections to be open
STEP_S = 0.2  # how often a window looks whether everybody is alive
SPARE_S = 60  # of wrk's own duration, so that it does not end before the window
FOREIGN_FLOOR_S = 0.05  # the kernel counts the machine's time in ticks of 10 ms


@dataclass(frozen=True)
class Target:
    """A server, and what can be asked about it: its own counters, its process, its core."""

    url: str
    admin_url: str | None = None
    pid: int | None = None
    core: int | None = None
    child: Child | None = None  # where we started it
    # Cores whose load changes the figures: the server's, the load's, and their hardware siblings.
    watched: frozenset[int] = frozenset()

    def stats(self) -> dict:
        return read_stats(self.admin_url)

    def read(self, others: list[int]) -> Reading:
        """All counters now. others: the processes on its machine that measure it."""
        return Reading.take(self, others)

    def rss_kib(self) -> int:
        return rss_kib(self.pid)


@dataclass(frozen=True)
class Process:
    """What a process has used. The kernel splits its time in ticks only."""

    cpu_s: float
    user_ticks: int
    system_ticks: int

    @staticmethod
    def read(pid: int) -> Process:
        return Process(cpu_s(pid), *user_share(pid))

    def since(self, before: Process) -> Process:
        return Process(self.cpu_s - before.cpu_s, self.user_ticks - before.user_ticks,
                       self.system_ticks - before.system_ticks)

    @property
    def user_part(self) -> float:
        ticks = self.user_ticks + self.system_ticks
        return self.user_ticks / ticks if ticks else 0.5


@dataclass(frozen=True)
class Reading:
    """All counters at one moment; stats is the server's own consistent snapshot."""

    stats: dict | None
    server: Process | None
    others_cpu_s: float  # of the load generator, of perf and of this process
    host: HostTimes

    @staticmethod
    def take(target: Target, others: list[int]) -> Reading:
        stats = target.stats() if target.admin_url else None
        own = time.process_time()
        server = Process.read(target.pid) if target.pid else None
        return Reading(stats, server, own + sum(map(cpu_s, others)), HostTimes.read())


@dataclass(frozen=True)
class Costs:
    """What one request of a window cost the server; None where that is unknown."""

    per: str  # the name of the count in the window: "requests" or "timed_out"
    events: int  # that count
    us: float | None  # CPU time
    user_us: float | None
    timers: dict[str, float] | None


def steady(target: Target, wrk: Wrk, connections: int, settle_s: float) -> int:
    """Wait until all connections are open and the load is steady; how many connections are open."""
    found = _wait_until_open(target, wrk, connections)
    hold(settle_s, target.child, wrk)
    return found


def longest_s(seconds: float) -> int:
    """The duration to give to wrk when the window and what comes before it take so long at most."""
    return math.ceil(OPEN_LIMIT_S + seconds + SPARE_S)


def observe(target: Target, wrk: Wrk, seconds: float, perf: Child | None = None,
            switched_on: Callable[[], AbstractContextManager] = nullcontext) -> Window:
    """The figures of a window. perf's events are on for exactly as long, where it records."""
    others = [child.pid for child in (wrk, perf) if child and _on_watched_cores(child, target)]
    with switched_on():
        before = target.read(others)
        hold(seconds, target.child, wrk, perf)
        after = target.read(others)
    found = between(before, after, target.core, target.watched)
    if target.pid:
        found.rss_kib = target.rss_kib()
    return found


def _on_watched_cores(child: Child, target: Target) -> bool:
    """Whether its time is part of how busy these cores are: perf may have a core of its own."""
    return not target.watched or bool(os.sched_getaffinity(child.pid) & target.watched)


def costs(window: Window, per: str | None = None) -> Costs:
    """What to count depends on the server's scenario; `per` says it where the scenario is known.

    Without `per`, the timed-out requests are counted where they are more than half of all requests.
    Failed when nothing was counted.
    """
    late = window.timed_out or 0
    per = per or ("timed_out" if late * 2 > window.requests else "requests")
    events = late if per == "timed_out" else window.requests
    if not events:
        raise Failed("nothing was counted in the window")
    cpu, timers = window.cpu, window.timers
    user_s = cpu.user_s if cpu else None
    return Costs(per, events,
                 us=cpu.utilisation * window.window_s * 1e6 / events if cpu else None,
                 user_us=None if user_s is None else user_s * 1e6 / events,
                 timers={k: n / events for k, n in timers.items()} if timers else None)


def _wait_until_open(target: Target, wrk: Wrk, connections: int) -> int:
    limit = time.monotonic() + OPEN_LIMIT_S
    while (found := connections_open(target.stats())) < connections:
        if time.monotonic() >= limit:
            break
        hold(0.05, target.child, wrk)
    return found


def hold(seconds: float, *children: Child | None) -> None:
    """Sleep; Failed as soon as a child is gone. None stands for a process that is not ours."""
    end = time.monotonic() + seconds
    while True:
        for child in filter(None, children):
            if not child.running:
                raise child.failure("in the middle of a measurement")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(STEP_S, left))


def connections_open(stats: dict) -> int:
    return stats["connections"]["open"]


def timed_out(stats: dict) -> int:
    return stats["connections"]["closed"]["request"]


def between(before: Reading, after: Reading, core: int | None,
            watched: frozenset[int] = frozenset()) -> Window:
    """What happened from one reading to the other; what nobody counts stays None."""
    used = after.server.since(before.server) if before.server else None
    if before.stats:
        found, inside = _counted(before.stats, after.stats)
    else:
        found, inside = Window(window_s=after.host.at_s - before.host.at_s), None
    cpu = inside if inside is not None else used.cpu_s if used else None
    if cpu is not None:
        found.cpu = _cpu(cpu, used, found.window_s)
    if used:
        found.host = host_between(before, after, core, watched)
    return found


def _counted(a: dict, b: dict) -> tuple[Window, float]:
    """What the server itself counted, and its CPU seconds."""
    seconds = (b["mono_ns"] - a["mono_ns"]) / 1e9
    late = b["timers"]["late_us"]
    requests = b["requests"] - a["requests"]
    return Window(
        window_s=seconds, requests=requests, timed_out=timed_out(b) - timed_out(a),
        rps=requests / seconds if seconds else 0.0,
        timers={k: b["timers"][k] - a["timers"][k] for k in TIMER_COUNTS},
        late_us=Lateness(p50=late["p50"], p99=late["p99"], max=late["max"]),
        bytes_out=b["bytes_out"] - a["bytes_out"], writes=b["writes"] - a["writes"],
        connections_open=min(connections_open(a), connections_open(b)),
    ), (b["cpu_ns"] - a["cpu_ns"]) / 1e9


def _cpu(cpu: float, used: Process | None, seconds: float) -> Cpu:
    return Cpu(user_s=cpu * used.user_part if used else None,
               sys_s=cpu * (1 - used.user_part) if used else None,
               utilisation=cpu / seconds if seconds else 0.0,
               outside_s=used.cpu_s if used else None)


def host_between(before: Reading, after: Reading, core: int | None,
                 watched: frozenset[int]) -> Host:
    """What others took of the watched cores; what is not counted there stays None.

    On a large machine the other cores are busy with whatever they like.
    """
    a, b = before.host, after.host
    seconds = (b.at_s - a.at_s) or 1e-9
    ours = (after.server.cpu_s - before.server.cpu_s) + (after.others_cpu_s - before.others_cpu_s)

    def rate(first: float | None, last: float | None) -> float | None:
        return None if first is None or last is None else (last - first) / seconds

    def rates(first: dict[int, float], last: dict[int, float]) -> list[float]:
        """Those of the watched cores; a sibling may be offline."""
        return [(last[n] - first[n]) / seconds for n in watched & first.keys() & last.keys()]

    busy_each, steal_each = rates(a.core_busy_s, b.core_busy_s), rates(a.core_steal_s, b.core_steal_s)
    busy = sum(busy_each) if busy_each else None
    if busy is None and b.cores <= len(watched):  # the machine has no others
        busy = rate(a.busy_s, b.busy_s)
    foreign = None if busy is None else max(0.0, busy - (ours + FOREIGN_FLOOR_S) / seconds)
    steal = fmean(steal_each) if steal_each else None
    if steal is None and b.cores:
        steal = _times(rate(a.steal_s, b.steal_s), 1 / b.cores)
    core_busy = rate(a.core_busy_s.get(core), b.core_busy_s.get(core))
    return Host(steal_pct=_times(steal, 100), foreign_pct=_times(foreign, 100),
                psi_some_pct=_times(rate(a.psi_some_s, b.psi_some_s), 100),
                server_core_busy=None if core_busy is None else min(1.0, core_busy))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
