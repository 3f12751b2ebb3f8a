"""One cell: a fresh pinned server, wrk on the other core, a steady window between two readings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path

from harness import fold, perf, plan
from harness.load import Shape, Wrk
from harness.plan import Cell, Settings
from harness.process import (Child, HostTimes, cpu_s, rss_kib, tcp_in_use, user_share)
from harness.server import Binary, Failed, Server, read_stats

SETTLE_LIMIT_S = 30.0  # for all connections to be open
DRAIN_LIMIT_S = 5.0
STEP_S = 0.2  # how often a window looks whether everybody is alive
MARGIN_S = 1.0  # of the paper preset: the window ends this long before wrk does
BOUND = 0.95  # a core this busy is the bottleneck

STEAL_LIMIT_PCT = 1.0
FOREIGN_LIMIT_PCT = 10.0  # of one core
FOREIGN_FLOOR_S = 0.05  # the kernel counts the machine's time in ticks of 10 ms
COUNT_LIMIT = 0.02
TIMER_COUNTS = ["armed", "rearmed", "moved", "disarmed", "expired"]


@dataclass(frozen=True)
class Bench:
    """What every cell shares."""

    binary: Binary
    settings: Settings
    folder: Path
    server_cpu: int
    client_cpu: int
    groups: fold.Groups = field(default_factory=fold.Groups)


@dataclass(frozen=True)
class Reading:
    """All counters at one moment; server_stats is the server's own consistent snapshot."""

    stats: dict
    server_cpu_s: float
    user_ticks: int
    system_ticks: int
    others_cpu_s: float  # of the load generator and of this process
    host: HostTimes

    @staticmethod
    def take(pid: int, admin_url: str, others: list[int]) -> Reading:
        stats = read_stats(admin_url)
        own = time.process_time()
        user, system = user_share(pid)
        return Reading(stats, cpu_s(pid), user, system, own + sum(map(cpu_s, others)),
                       HostTimes.read())


def connections_open(stats: dict) -> int:
    return stats["connections"]["open"]


def timed_out(stats: dict) -> int:
    return stats["connections"]["closed"]["request"]


def settle(server: Child, wrk: Child, admin_url: str, connections: int, settle_s: float) -> None:
    """Wait until all connections are open, or for the limit; the gates judge what is missing."""
    limit = time.monotonic() + SETTLE_LIMIT_S
    while time.monotonic() < limit and connections_open(read_stats(admin_url)) < connections:
        hold(0.05, server, wrk)
    hold(settle_s, server, wrk)


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


def between(before: Reading, after: Reading, server_cpu: int | None) -> dict:
    """The figures of a window: everything that a load sample says but wrk's part."""
    a, b = before.stats, after.stats
    seconds = (b["mono_ns"] - a["mono_ns"]) / 1e9
    cpu = (b["cpu_ns"] - a["cpu_ns"]) / 1e9
    user, system = after.user_ticks - before.user_ticks, after.system_ticks - before.system_ticks
    user_part = user / (user + system) if user + system else 0.5
    timers = {k: b["timers"][k] - a["timers"][k] for k in TIMER_COUNTS}
    return {
        "window_s": seconds, "requests": b["requests"] - a["requests"],
        "timed_out": timed_out(b) - timed_out(a),
        "rps": (b["requests"] - a["requests"]) / seconds if seconds else 0.0,
        "cpu": {"user_s": cpu * user_part, "sys_s": cpu * (1 - user_part),
                "utilisation": cpu / seconds if seconds else 0.0,
                "outside_s": after.server_cpu_s - before.server_cpu_s},
        "timers": timers,
        "late_us": b["timers"]["late_us"],  # since the server began
        "bytes_out": b["bytes_out"] - a["bytes_out"], "writes": b["writes"] - a["writes"],
        "connections_open": min(connections_open(a), connections_open(b)),
        "host": host_between(before, after, server_cpu),
    }


def host_between(before: Reading, after: Reading, server_cpu: int | None) -> dict:
    a, b = before.host, after.host
    seconds = (b.at_s - a.at_s) or 1e-9
    ours = (after.server_cpu_s - before.server_cpu_s) + (after.others_cpu_s - before.others_cpu_s)
    foreign = max(0.0, b.busy_s - a.busy_s - ours - FOREIGN_FLOOR_S)
    found = {"steal_pct": 100 * (b.steal_s - a.steal_s) / (seconds * len(b.core_busy_s)),
             "psi_some_pct": 100 * (b.psi_some_s - a.psi_some_s) / seconds,
             "foreign_pct": 100 * foreign / seconds}
    if server_cpu is not None:
        busy = b.core_busy_s[server_cpu] - a.core_busy_s[server_cpu]
        found["server_core_busy"] = min(1.0, busy / seconds)
    return found


def events_of(sample: dict) -> int:
    """What the cost is divided by: in S2 nothing is answered, so the requests that timed out."""
    return sample["timed_out" if sample["scenario"] == "increasing-timeout" else "requests"]


def per_event(sample: dict) -> dict:
    events = events_of(sample)
    if not events:
        raise Failed("nothing was counted in the window")
    cpu = sample["cpu"]
    return {"server_bound": sample["host"].get("server_core_busy", 0) >= BOUND,
            "cpu": cpu | {"us_per_request": (cpu["user_s"] + cpu["sys_s"]) * 1e6 / events},
            "timers_per_request": {k: n / events for k, n in sample["timers"].items()}}


def gates(sample: dict) -> list[str]:
    """The flags of a load sample; the limits are fixed here, before anything is measured."""
    errors = sample["wrk"]["errors"]
    # Where the server closes, its closes are wrk's read errors.
    bad = sum(errors.values()) - (errors["read"] if closes(sample) else 0)
    found = {
        "socket_errors": bad > 0,
        "wrong_counts": not counts_agree(sample),
        "cpu_clocks_differ": not clocks_agree(sample["cpu"]),
    }
    return surroundings(sample) + [name for name, failed in found.items() if failed]


def surroundings(sample: dict) -> list[str]:
    """The flags that any kind of cell can get."""
    host, wanted = sample["host"], sample["connections_asked"]
    least = math.floor(wanted * 0.99) if closes(sample) else wanted
    found = {
        "steal": host["steal_pct"] > STEAL_LIMIT_PCT,
        "foreign_load": host["foreign_pct"] > FOREIGN_LIMIT_PCT,
        "missing_connections": sample["connections_open"] < least,
    }
    return [name for name, failed in found.items() if failed]


def closes(sample: dict) -> bool:
    """Whether the server closes connections in the course of this cell, and wrk opens new ones."""
    return sample["scenario"] != "respond"


def counts_agree(sample: dict) -> bool:
    """wrk's and the server's totals, but for what was under way when wrk stopped."""
    wrk, served = sample["wrk"], sample["totals"]
    pairs = [(wrk["requests"], served["responses"])]
    if sample["scenario"] == "increasing-timeout":
        pairs = [(wrk["errors"]["read"], served["timed_out"])]
    return all(abs(a - b) <= COUNT_LIMIT * max(a, b) + sample["connections"] for a, b in pairs)


def clocks_agree(cpu: dict) -> bool:
    """The server's own clock against the kernel's view of it from outside."""
    inside = cpu["user_s"] + cpu["sys_s"]
    return abs(inside - cpu["outside_s"]) <= COUNT_LIMIT * inside + 0.03


def shape(settings: Settings, cell: Cell) -> Shape:
    if settings.wrk_duration_s and cell.kind == "load":
        return Shape(cell.connections, settings.wrk_threads, settings.wrk_duration_s, True)
    longest = SETTLE_LIMIT_S + settings.settle_s + plan.window_s(settings, cell) + 60
    return Shape(cell.connections, settings.wrk_threads, math.ceil(longest))


@contextmanager
def loaded(bench: Bench, cell: Cell) -> Iterator[tuple[Server, Wrk]]:
    """The server under steady load; afterwards both are gone and the sockets drained.

    The caller ends wrk; the server must then stop cleanly.
    """
    sockets = tcp_in_use()
    asked = shape(bench.settings, cell)
    with Server(bench.binary.path, cell, {bench.server_cpu}) as server:
        with Wrk(asked, server.url, {bench.client_cpu}) as wrk:
            settle(server, wrk, server.admin_url, asked.opened, bench.settings.settle_s)
            yield server, wrk
        code = server.stop()
        if code != 0:
            raise Failed(f"server ended with {code} on SIGTERM: {server.last_words()}")
    drain(sockets)


def drain(sockets: int) -> None:
    """Wait for the cell's sockets to go. TIME_WAIT may stay: the next server has a new port."""
    limit = time.monotonic() + DRAIN_LIMIT_S
    while tcp_in_use() > sockets + 10 and time.monotonic() < limit:
        time.sleep(0.02)


def _load(bench: Bench, cell: Cell) -> dict:
    settings = bench.settings
    start = time.monotonic()
    with loaded(bench, cell) as (server, wrk):
        window = plan.window_s(settings, cell)
        fixed = settings.wrk_duration_s
        if fixed:
            window = min(window, start + fixed - MARGIN_S - time.monotonic())
        before = Reading.take(server.pid, server.admin_url, [wrk.pid])
        hold(window, server, wrk)
        after = Reading.take(server.pid, server.admin_url, [wrk.pid])
        memory = rss_kib(server.pid)
        report = wrk.finish(now=not fixed)
        last = server.stats()
    checked = {"responses": last["responses"] - 1, "timed_out": timed_out(last)}  # -1: our GET
    sample = cell.labels() | between(before, after, bench.server_cpu) | {
        "connections_asked": shape(settings, cell).opened, "wrk": report, "rss_kib": memory, "totals": checked}
    sample |= per_event(sample)
    return sample | {"flags": gates(sample)}


def _window(bench: Bench, cell: Cell, argv: list[str], server: Server, wrk: Wrk
            ) -> tuple[perf.Window, Reading, Reading]:
    """Run perf for the window of the cell; the caller closes it."""
    window = perf.Window(argv, {bench.client_cpu})
    try:
        window.on()
        others = [wrk.pid, window.perf.pid]
        before = Reading.take(server.pid, server.admin_url, others)
        hold(plan.window_s(bench.settings, cell), server, wrk, window.perf)
        after = Reading.take(server.pid, server.admin_url, others)
        window.off()
    except BaseException:
        window.__exit__(None, None, None)
        raise
    return window, before, after


def _counted(bench: Bench, cell: Cell, before: Reading, after: Reading) -> dict:
    sample = cell.labels() | between(before, after, bench.server_cpu)
    sample |= {"connections_asked": shape(bench.settings, cell).opened}
    return sample | per_event(sample)


def _syscalls(bench: Bench, cell: Cell) -> dict:
    with loaded(bench, cell) as (server, wrk):
        window, before, after = _window(bench, cell, perf.stat_argv(server.pid), server, wrk)
        with window:
            text = window.end()
        wrk.finish()
    sample = _counted(bench, cell, before, after)
    per = perf.syscalls_per(perf.parse_stat(text), events_of(sample))
    kept = {k: sample[k] for k in ("window_s", "requests", "timed_out")}
    return cell.labels() | kept | {"per_request": per, "flags": surroundings(sample)}


def _profile(bench: Bench, cell: Cell) -> dict:
    sample, profile = _recorded(bench, cell, "frame pointers")
    round_file = f"profiles/rounds/{cell.profile_name}.r{cell.round:02}.folded"
    write_folded(bench.folder, cell.profile_name, round_file, profile)
    return sample | {"folded": f"profiles/{cell.profile_name}.folded", "round_folded": round_file}


def _dwarf(bench: Bench, cell: Cell) -> dict:
    sample, profile = _recorded(bench, cell, "dwarf")
    file = bench.folder / f"profiles/dwarf/{cell.profile_name}.folded"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(fold.to_text(profile.stacks))
    return sample | {"folded": str(file.relative_to(bench.folder))}


def _recorded(bench: Bench, cell: Cell, walk: str) -> tuple[dict, fold.Profile]:
    """A profile and the figures of its window."""
    with loaded(bench, cell) as (server, wrk):
        argv = perf.record_argv(server.pid, walk)
        window, before, after = _window(bench, cell, argv, server, wrk)
        with window:
            window.end()
            wrk.finish()
            server.stop()  # before the text is made: folding needs the core
            profile = fold.parse(perf.script(window.data))
    if not profile.samples:
        raise Failed("perf recorded no samples")
    counted = _counted(bench, cell, before, after)
    cost = counted["cpu"]["us_per_request"]
    shares = bench.groups.shares(profile.stacks)
    return cell.labels() | {
        "samples": profile.samples, "lost": profile.lost, "frequency": perf.WALKS[walk][1],
        "window_s": counted["window_s"], "requests": counted["requests"],
        "timed_out": counted["timed_out"], "us_per_request": cost,
        "shares": shares, "unresolved": profile.broken / profile.samples,
        "timer_us_per_request": {k: v * cost for k, v in shares["timer"].items()},
        "flags": surroundings(counted)}, profile


def write_folded(folder: Path, name: str, round_file: str, profile: fold.Profile) -> None:
    """This round's stacks in a file of their own, and all rounds' so far in the profile's."""
    (folder / "profiles/rounds").mkdir(parents=True, exist_ok=True)
    (folder / round_file).write_text(fold.to_text(profile.stacks))
    rounds = sorted((folder / "profiles/rounds").glob(f"{name}.r*.folded"))
    merged = fold.merge(path.read_text() for path in rounds)
    (folder / f"profiles/{name}.folded").write_text(merged)


_KINDS = {"load": _load, "syscalls": _syscalls, "profile": _profile, "dwarf": _dwarf}


def measure(bench: Bench, cell: Cell) -> dict:
    """The sample of a cell. A gated one is measured once more, then kept with its flags."""
    sample: dict = {}
    for attempt in range(1 + bench.settings.retries):
        newest = _attempt(bench, cell)
        if newest["valid"] or not sample.get("valid"):
            sample = newest  # figures with a flag are better than none
        if sample["valid"] and not sample["flags"]:
            break
    return sample | {"retried": attempt > 0}


def _attempt(bench: Bench, cell: Cell) -> dict:
    t0 = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    try:
        sample = _KINDS[cell.kind](bench, cell) | {"valid": True}
    except (Failed, OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
        sample = cell.labels() | {"valid": False, "flags": ["failed"], "error": reason}
    return sample | {"t0": t0}
