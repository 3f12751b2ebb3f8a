"""study fleet: servers beside each other on one port, and many connections that do nothing.

A process has a limit of descriptors, so servers and holders of connections are several processes each.
Both ends of every connection are on this machine: the kernel's memory is that of two sockets.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness import holder
from harness.contenders import OWN_BINARY
from harness.environment import SPARE_FILES
from harness.measured_server import READY_LIMIT_S, READY_LINE, read_stats
from harness.process import Child, cpu_s, rss_kib, text_of
from results.errors import Failed

CONNECT_LIMIT_S = 120.0
ASK_LIMIT_S = 60.0
CLOSE_LIMIT_S = 60.0  # after the idle timeout
STEP_S = 0.05
LISTED_CACHES = 12  # of the kernel's memory, the largest ones
NETWORKS = range(1, 255)  # 127.N.0.0, one for each holder


@dataclass(frozen=True)
class Shape:
    processes: int
    connections: int
    idle_timeout_s: int
    window_s: float
    flags: tuple[str, ...] = ()  # of each server

    @property
    def most_per_server(self) -> int:
        """The kernel chooses a server by a hash, so the shares differ: six standard deviations."""
        share = self.connections / self.processes
        return math.ceil(share + 6 * math.sqrt(share))

    def per_holder(self, files: int) -> list[int]:
        """How many connections each holder has, with so many descriptors per process."""
        count = math.ceil(self.connections / max(1, files - SPARE_FILES))
        if count > len(NETWORKS):
            raise Failed(f"{count} processes would have to hold the connections, {len(NETWORKS)} at "
                         "most can; fix: a larger limit of descriptors")
        return [self.connections // count + (number < self.connections % count)
                for number in range(count)]


@dataclass(frozen=True)
class Memory:
    """What the servers and the kernel hold, in bytes. caches: name -> objects in use, bytes each."""

    resident: int
    slab: int
    buffers: int
    sockets: int
    time_wait: int
    caches: dict[str, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def read(pids: list[int], proc: Path = Path("/proc")) -> Memory:
        slab = re.search(r"^Slab: +(\d+) kB", text_of(proc / "meminfo"), re.MULTILINE)
        tcp = re.search(r"^TCP: inuse (\d+) orphan \d+ tw (\d+) alloc \d+ mem (\d+)",
                        text_of(proc / "net/sockstat"), re.MULTILINE)
        rows = re.findall(r"^(\S+) +(\d+) +\d+ +(\d+) ", text_of(proc / "slabinfo"), re.MULTILINE)
        return Memory(sum(map(rss_kib, pids)) * 1024, int(slab[1]) * 1024 if slab else 0,
                      int(tcp[3]) * 4096 if tcp else 0, int(tcp[1]) if tcp else 0,
                      int(tcp[2]) if tcp else 0,
                      {name: (int(used), int(size)) for name, used, size in rows})


def wake_ups(pids: list[int], proc: Path = Path("/proc")) -> int:
    """How often the threads of these processes have gone to sleep, hence woken up."""
    texts = [text_of(status) for pid in pids for status in (proc / f"{pid}/task").glob("*/status")]
    return sum(int(count) for text in texts
               for count in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE))


@dataclass(frozen=True)
class Phase:
    """A part of the run: how long it took, and what it cost all servers together."""

    name: str
    seconds: float
    cpu_s: float
    wake_ups: int
    events: int = 0  # of connections that took part; 0: none did


@dataclass
class Found:
    shape: Shape
    holders: int = 0
    phases: list[Phase] = field(default_factory=list)
    before: Memory | None = None
    held: Memory | None = None
    after: Memory | None = None
    shares: list[int] = field(default_factory=list)  # connections of each server
    late_ms: float = 0.0  # the latest timer of all


class Fleet:
    """The servers of a shape, on one port."""

    def __init__(self, shape: Shape, stack: ExitStack) -> None:
        self.children: list[Child] = []
        self.admins: list[str] = []
        self.port = 0
        for _ in range(shape.processes):
            self._start(shape, stack)
        self.pids = [child.pid for child in self.children]

    def _start(self, shape: Shape, stack: ExitStack) -> None:
        child = stack.enter_context(Child([
            str(OWN_BINARY), "--reuse-port", f"--port={self.port}", "--admin-port=0",
            f"--idle-timeout={shape.idle_timeout_s}s", *shape.flags]))
        _wait(lambda: READY_LINE.search(child.output()), READY_LIMIT_S, [child], "ready")
        ready = READY_LINE.search(child.output())
        self.port = int(ready["url"].rpartition(":")[2])
        self.admins.append(re.search(r"\badmin=(\S+)", ready["said"])[1])
        self.children.append(child)

    def stats(self) -> list[dict]:
        return [read_stats(admin) for admin in self.admins]


class Meter:
    """Readings of all servers' counters; asks none of them anything, so it wakes none."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self._last = self._read()

    def _read(self) -> tuple[float, float, int]:
        return time.monotonic(), sum(map(cpu_s, self.pids)), wake_ups(self.pids)

    def lap(self, name: str, events: int = 0, began: float | None = None) -> Phase:
        """What there was since the last lap. The clock may begin at another moment."""
        before, self._last = self._last, self._read()
        at, cpu, woken = self._last
        return Phase(name, at - (began or before[0]), cpu - before[1], woken - before[2], events)


def _wait(condition: Callable[[], object], limit_s: float, children: list[Child], what: str) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        for child in children:
            if not child.running and child.popen.returncode:
                raise Failed(f"{child.ending()}; not {what} before")
        if time.monotonic() > limit:
            raise Failed(f"not {what} within {limit_s:.0f} s")
        time.sleep(STEP_S)


def _said(holders: list[Child], word: str) -> bool:
    return all(re.search(rf"^{word} ", child.output(), re.MULTILINE) for child in holders)


def measure(shape: Shape, files: int) -> Found:
    """Opens all connections, asks once on each, leaves them alone, and waits until all expired."""
    counts = shape.per_holder(files)
    found = Found(shape, len(counts))
    with ExitStack() as stack:
        fleet = Fleet(shape, stack)
        found.before = Memory.read(fleet.pids)
        meter = Meter(fleet.pids)
        began = time.monotonic()
        holders = [stack.enter_context(Child([
            sys.executable, holder.__file__, str(fleet.port), str(network), str(count)]))
            for network, count in zip(NETWORKS, counts)]
        everybody = fleet.children + holders

        _wait(lambda: _said(holders, "connected"), CONNECT_LIMIT_S, everybody, "connected")
        found.phases.append(meter.lap("connecting", shape.connections))
        found.shares = [stats["connections"]["open"] for stats in fleet.stats()]
        meter.lap("the counters are read")
        asked = time.monotonic()
        for child in holders:
            child.signal(holder.signal.SIGUSR1)
        _wait(lambda: _said(holders, "answered"), ASK_LIMIT_S, everybody, "answered")
        found.phases.append(meter.lap("one request on each", shape.connections))
        found.held = Memory.read(fleet.pids)
        meter.lap("the memory is read")
        time.sleep(shape.window_s)
        found.phases.append(meter.lap("idle"))
        _require_quiet(shape, time.monotonic() - began)

        limit_s = asked + shape.idle_timeout_s + CLOSE_LIMIT_S - time.monotonic()
        _wait(lambda: _said(holders, "closed"), limit_s, everybody, "closed")
        found.phases.append(meter.lap("all expire", shape.connections,
                                      began=asked + shape.idle_timeout_s))
        found.after = Memory.read(fleet.pids)
        _check_end(found, fleet.stats())
    return found


def _require_quiet(shape: Shape, since_first_s: float) -> None:
    """Failed when timers came due in the idle window, which would not be idle then."""
    if since_first_s > shape.idle_timeout_s:
        raise Failed(f"connections began to expire {since_first_s:.0f} s after the first was opened, "
                     "before the idle window had ended; fix: a longer --idle-timeout")


def _check_end(found: Found, stats: list[dict]) -> None:
    expired = sum(each["connections"]["closed"]["idle"] for each in stats)
    if expired != found.shape.connections:
        raise Failed(f"{expired} of {found.shape.connections} connections were closed by the idle "
                     "timeout")
    found.late_ms = max(each["timers"]["late_us"]["max"] for each in stats) / 1000


def table(found: Found) -> str:
    """The figures in Markdown."""
    shape = found.shape
    rows = [f"{shape.connections} connections, {shape.processes} servers on one port with "
            f"{min(found.shares)} to {max(found.shares)} of them, {found.holders} processes that hold "
            f"them. The latest timer was {found.late_ms:.1f} ms late.", "",
            "| phase | seconds | CPU of all servers, s | CPU per connection, µs | wake-ups |",
            "| --- | ---: | ---: | ---: | ---: |"]
    for phase in found.phases:
        each = f"{phase.cpu_s / phase.events * 1e6:.1f}" if phase.events else "-"
        rows.append(f"| {phase.name} | {phase.seconds:.1f} | {phase.cpu_s:.3f} | {each} | "
                    f"{phase.wake_ups} |")
    rows += ["", "| memory | before, MiB | held, MiB | per connection, bytes | after, MiB |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for name, what in (("resident, all servers", "resident"), ("kernel: slab, both ends", "slab"),
                       ("kernel: TCP buffers", "buffers")):
        before, held, after = (getattr(memory, what)
                               for memory in (found.before, found.held, found.after))
        rows.append(f"| {name} | {before / 2**20:.1f} | {held / 2**20:.1f} | "
                    f"{(held - before) / shape.connections:.0f} | {after / 2**20:.1f} |")
    rows.append("")
    rows.append(f"TCP sockets: {found.before.sockets} before, {found.held.sockets} held, "
                f"{found.after.sockets} after, with {found.after.time_wait} in TIME_WAIT.")
    return "\n".join(rows + _cache_rows(found))


def _cache_rows(found: Found) -> list[str]:
    """The caches of the kernel that grew by most; none where only root may read them."""
    grown = []
    for name, (used, size) in found.held.caches.items():
        more = used - found.before.caches.get(name, (0, size))[0]
        if more * size > found.shape.connections:  # a byte per connection
            grown.append((more * size / found.shape.connections, name, size,
                          more / found.shape.connections))
    if not grown:
        return ["", "The kernel's caches are not listed: only root may read /proc/slabinfo."]
    rows = ["", "| kernel cache, both ends | bytes per object | objects per connection | bytes per "
            "connection |", "| --- | ---: | ---: | ---: |"]
    return rows + [f"| {name} | {size} | {objects:.2f} | {each:.0f} |"
                   for each, name, size, objects in sorted(grown, reverse=True)[:LISTED_CACHES]]
