"""A measuring window: two readings of all counters with steady load between them.

Everything that measures a server goes through measure(): study run, study load and study servers.
They differ in where the server comes from, and in what they print.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from harness.process import Child, HostTimes, cpu_s, rss_kib, user_share
from harness.measured_server import read_stats
from harness.wrk import Wrk
from results.errors import Failed
from results.sample import TIMER_COUNTS, Cpu, Host, Lateness, Window

OPEN_LIMIT_S = 30.0  # for all connections to be open
STEP_S = 0.2  # how often a window looks whether everybody is alive
FOREIGN_FLOOR_S = 0.05  # the kernel counts the machine's time in ticks of 10 ms


@dataclass(frozen=True)
class Target:
    """A server, and what can be asked about it: its own counters, its process, its core."""

    url: str
    admin_url: str | None = None
    pid: int | None = None
    core: int | None = None
    child: Child | None = None  # where we started it


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
        stats = read_stats(target.admin_url) if target.admin_url else None
        own = time.process_time()
        server = Process.read(target.pid) if target.pid else None
        return Reading(stats, server, own + sum(map(cpu_s, others)), HostTimes.read())


def measure(target: Target, wrk: Wrk, seconds: float, perf: Child | None = None,
            switched_on: Callable[[], AbstractContextManager] = nullcontext) -> Window:
    """The figures of a window. perf's events are on for exactly as long, where it records."""
    children = [child for child in (target.child, wrk, perf) if child]
    others = [child.pid for child in (wrk, perf) if child]
    with switched_on():
        before = Reading.take(target, others)
        hold(seconds, *children)
        after = Reading.take(target, others)
    found = between(before, after, target.core)
    if target.pid:
        found.rss_kib = rss_kib(target.pid)
    return found


def wait_until_open(target: Target, wrk: Wrk, connections: int) -> int:
    """Wait until all connections are open, or for the limit; how many are."""
    limit = time.monotonic() + OPEN_LIMIT_S
    children = [child for child in (target.child, wrk) if child]
    while (found := connections_open(read_stats(target.admin_url))) < connections:
        if time.monotonic() >= limit:
            break
        hold(0.05, *children)
    return found


def hold(seconds: float, *children: Child) -> None:
    """Sleep; Failed as soon as a child is gone."""
    end = time.monotonic() + seconds
    while True:
        for child in children:
            if not child.running:
                raise Failed(f"{child.name} ended with {child.popen.returncode} in the middle: "
                             f"{child.last_words()}")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(STEP_S, left))


def connections_open(stats: dict) -> int:
    return stats["connections"]["open"]


def timed_out(stats: dict) -> int:
    return stats["connections"]["closed"]["request"]


def between(before: Reading, after: Reading, core: int | None) -> Window:
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
        found.host = host_between(before, after, core)
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


def host_between(before: Reading, after: Reading, core: int | None) -> Host:
    a, b = before.host, after.host
    seconds = (b.at_s - a.at_s) or 1e-9
    ours = (after.server.cpu_s - before.server.cpu_s) + (after.others_cpu_s - before.others_cpu_s)
    foreign = max(0.0, b.busy_s - a.busy_s - ours - FOREIGN_FLOOR_S)
    found = Host(steal_pct=100 * (b.steal_s - a.steal_s) / (seconds * len(b.core_busy_s)),
                 psi_some_pct=100 * (b.psi_some_s - a.psi_some_s) / seconds,
                 foreign_pct=100 * foreign / seconds)
    if core is not None:
        busy = b.core_busy_s[core] - a.core_busy_s[core]
        found.server_core_busy = min(1.0, busy / seconds)
    return found
