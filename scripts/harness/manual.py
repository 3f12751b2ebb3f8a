"""study load: one cell's load against a server that somebody else started."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness import bad_usage, cannot
from harness.cell import (COUNT_LIMIT, SETTLE_LIMIT_S, TIMER_COUNTS, connections_open, hold,
                          timed_out)
from harness.load import Shape, Wrk
from harness.process import cpu_s, rss_kib, user_share
from harness.server import Failed, read_stats

SETTLE_S = 1.0


def check_url(url: str, option: str) -> str:
    """The address without its trailing slash; ends the program when it is not one of ours."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise bad_usage(f"{option} {url!r} is not an address: {error}") from None
    if parts.scheme != "http" or not parts.hostname:
        raise bad_usage(f"{option} {url!r} is not of the form http://HOST:PORT")
    try:
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError as error:
        raise cannot(f"nothing accepts connections at {url}: {error.strerror or error}") from None
    return url.rstrip("/")


def check_admin(url: str) -> str:
    found = check_url(url, "--admin")
    try:
        read_stats(found)
    except (Failed, OSError) as error:
        raise bad_usage(f"--admin {url} is not the server's admin address: {error}") from None
    return found


def check_pid(pid: int) -> int:
    try:
        cpu_s(pid)
    except OSError:
        raise bad_usage(f"--pid {pid}: there is no such process") from None
    return pid


def drive(url: str, connections: int, seconds: float, admin: str | None, pid: int | None,
          cpus: set[int], pipeline: int = 1) -> dict:
    """The figures that can be known: the rest is None.

    With the admin address the window is steady and its counters are the server's; without it
    it is all of wrk's run, and CPU time is that of the process, if its pid is known.
    """
    shape = Shape(connections, 1, int(SETTLE_LIMIT_S + seconds + 60), pipeline=pipeline)
    with Wrk(shape, url, cpus) as wrk:
        started = time.monotonic()
        if admin:
            _settle(wrk, admin, connections)
        before = (_counters(admin), _Cpu.take(pid) if pid else None)
        hold(seconds if admin else seconds + SETTLE_S, wrk)
        after = (_counters(admin), _Cpu.take(pid) if pid else None)
        memory = rss_kib(pid) if pid else None
        elapsed = time.monotonic() - started
        report = wrk.finish()
    figures = _from_server(before[0], after[0]) if admin else _from_wrk(report, elapsed)
    outside = after[1].since(before[1]) if pid else None
    return {"url": url, "connections": connections, "rss_kib": memory,
            **_costs(figures, outside), "wrk": report}


@dataclass(frozen=True)
class _Cpu:
    """What a process has used."""

    seconds: float
    user_ticks: int
    system_ticks: int

    @staticmethod
    def take(pid: int) -> _Cpu:
        return _Cpu(cpu_s(pid), *user_share(pid))

    def since(self, before: _Cpu) -> _Cpu:
        return _Cpu(self.seconds - before.seconds, self.user_ticks - before.user_ticks,
                    self.system_ticks - before.system_ticks)

    @property
    def user_s(self) -> float:
        """Its own code's part; the kernel splits time in ticks only."""
        return self.seconds * self.user_ticks / max(1, self.user_ticks + self.system_ticks)


def _settle(wrk: Wrk, admin: str, connections: int) -> None:
    limit = time.monotonic() + SETTLE_LIMIT_S
    while connections_open(read_stats(admin)) < connections:
        if time.monotonic() > limit:
            raise Failed(f"only {connections_open(read_stats(admin))} of {connections} "
                         f"connections are open after {SETTLE_LIMIT_S:.0f} s")
        hold(0.05, wrk)
    hold(SETTLE_S, wrk)


def problem(figures: dict) -> str | None:
    """Why the figures must not be used."""
    requests, errors = figures["requests"], figures["wrk"]["errors"]
    if errors["status"] >= requests:
        return "every answer was an error: is that the right path?"
    broken = errors["connect"] + errors["read"] + errors["write"]
    if figures["per"] == "requests" and broken > COUNT_LIMIT * requests:
        return f"{broken} socket errors for {requests} requests: did the server go away?"
    return None


def _counters(admin: str | None) -> dict | None:
    return read_stats(admin) if admin else None


def _from_server(a: dict, b: dict) -> dict:
    seconds = (b["mono_ns"] - a["mono_ns"]) / 1e9
    timers = {k: b["timers"][k] - a["timers"][k] for k in TIMER_COUNTS}
    return {"window_s": seconds, "requests": b["requests"] - a["requests"],
            "timed_out": timed_out(b) - timed_out(a), "cpu_s": (b["cpu_ns"] - a["cpu_ns"]) / 1e9,
            "timers": timers, "late_us": b["timers"]["late_us"],
            "bytes_out": b["bytes_out"] - a["bytes_out"], "writes": b["writes"] - a["writes"],
            "connections_open": connections_open(b)}


def _from_wrk(report: dict, elapsed: float) -> dict:
    return {"window_s": elapsed, "requests": report["requests"], "timed_out": None, "cpu_s": None,
            "timers": None, "late_us": None, "bytes_out": None, "writes": None,
            "connections_open": None}


def _costs(figures: dict, outside: _Cpu | None) -> dict:
    """CPU and timer operations per request, or per timed-out one where most of them time out."""
    late = figures["timed_out"] or 0
    per = "timed_out" if late * 2 > figures["requests"] else "requests"
    events = figures[per]
    if not events:
        raise Failed("no request was counted in the window")
    inside = figures.pop("cpu_s")
    cpu = inside if inside is not None else outside.seconds if outside else None
    timers = figures["timers"]
    return figures | {
        "per": per, "rps": figures["requests"] / figures["window_s"],
        "cpu": {"us_per_request": cpu * 1e6 / events if cpu is not None else None,
                "user_us_per_request": outside.user_s * 1e6 / events if outside else None,
                "utilisation": cpu / figures["window_s"] if cpu is not None else None},
        "timers_per_request": {k: n / events for k, n in timers.items()} if timers else None}


def table(figures: dict) -> str:
    """The same for people; a line only for what is known."""
    cpu, wrk = figures["cpu"], figures["wrk"]
    latency = wrk["latency_us"]
    event = "timed-out request" if figures["per"] == "timed_out" else "request"
    rows = [
        ("connections", figures["connections"], ""),
        ("window" if figures["timers"] else "window, settling included", figures["window_s"], "s"),
        ("requests", figures["requests"], ""),
        ("requests per second", figures["rps"], ""),
        ("timed-out requests", figures["timed_out"], ""),
        (f"CPU per {event}", cpu["us_per_request"], "us"),
        ("of it in user mode", cpu["user_us_per_request"], "us"),
        ("CPU utilisation", cpu["utilisation"], ""),
        *((f"timers {k} per {event}", n, "")
          for k, n in (figures["timers_per_request"] or {}).items()),
        ("resident memory", figures["rss_kib"], "KiB"),
        *((f"latency {p} ({latency['kind']})", latency[p], "us") for p in ("p50", "p99", "max")),
        *((f"wrk {k} errors", n, "") for k, n in wrk["errors"].items()),
    ]
    return "\n".join(f"{name:34} {_plain(value):>14} {unit}".rstrip()
                     for name, value, unit in rows if value is not None)


def _plain(value: float | int) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
