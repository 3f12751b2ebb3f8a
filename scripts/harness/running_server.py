"""study load: the load of a measurement against a server that somebody else started."""

from __future__ import annotations

import re
import socket
from dataclasses import asdict, replace
from urllib.parse import urlsplit

from harness import gates
from harness.measured_server import read_stats
from harness.process import cpu_s
from harness.window import OPEN_LIMIT_S, Target, costs, longest_s, observe, steady
from harness.wrk import Shape, Wrk
from results.errors import Failed, bad_usage, cannot
from results.sample import Window, WrkReport

SETTLE_S = 1.0  # of steady load before the window; the study takes this from its preset


def check_url(url: str, option: str) -> str:
    """The address as it is; ends the program when no server can be asked for it."""
    if not re.fullmatch(r"[!-~]+", url):
        raise bad_usage(f"{option} {url!r} has a character that no address has; write it as %XX")
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
    return url


def check_admin(url: str) -> str:
    found = check_url(url, "--admin").rstrip("/")
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


def drive(target: Target, connections: int, seconds: float, cpus: set[int],
          pipeline: int = 1) -> dict:
    """The figures that can be known: the rest is None.

    With the admin address the window is steady, and its counters are the server's. Without it the
    window is all of wrk's run, and CPU time is that of the process, if its pid is known.
    """
    shape = Shape(connections, 1, longest_s(SETTLE_S + seconds), pipeline=pipeline)
    io = read_stats(target.admin_url).get("io") if target.admin_url else None
    with Wrk(shape, target.url, cpus) as wrk:
        if target.admin_url:
            _require_open(steady(target, wrk, connections, SETTLE_S), connections)
            window = observe(target, wrk, seconds)
        else:
            window = observe(target, wrk, SETTLE_S + seconds)
        report = wrk.finish()
    return figures(target.url, connections, window, report) | {"io": io}


def _require_open(found: int, connections: int) -> None:
    if found < connections:
        raise Failed(f"only {found} of {connections} connections are open after "
                     f"{OPEN_LIMIT_S:.0f} s")


def figures(url: str, connections: int, window: Window, report: WrkReport) -> dict:
    """As --json prints them. The scenario is unknown, so costs() decides what to count."""
    if window.requests is None:
        window = replace(window, requests=report.requests)
    cost = costs(window)
    return {
        "url": url, "connections": connections, "rss_kib": window.rss_kib,
        "window_s": window.window_s, "requests": window.requests, "timed_out": window.timed_out,
        "timers": window.timers, "late_us": window.late_us and asdict(window.late_us),
        "bytes_out": window.bytes_out, "writes": window.writes,
        "connections_open": window.connections_open, "per": cost.per,
        "rps": window.requests / window.window_s,
        "server_bound": window.cpu.saturated if window.cpu else None,
        "cpu": {"us_per_request": cost.us, "user_us_per_request": cost.user_us,
                "utilisation": window.cpu.utilisation if window.cpu else None},
        "timers_per_request": cost.timers,
        "wrk": asdict(report)}


def problem(found: dict) -> str | None:
    """Why the figures must not be used."""
    requests, errors = found["requests"], found["wrk"]["errors"]
    if errors["status"] >= requests:
        return "every answer was an error: is that the right path?"
    broken = errors["connect"] + errors["read"] + errors["write"]
    if found["per"] == "requests" and broken > gates.COUNT_LIMIT * requests:
        return f"{broken} socket errors for {requests} requests: did the server go away?"
    return None


def table(found: dict) -> str:
    """The same for people; a line only for what is known."""
    cpu, wrk = found["cpu"], found["wrk"]
    latency = wrk["latency_us"]
    event = "timed-out request" if found["per"] == "timed_out" else "request"
    rows = [
        ("connections", found["connections"], ""),
        ("transport (--io)", found.get("io"), ""),
        ("window" if found["timers"] else "window, connecting included", found["window_s"], "s"),
        ("requests", found["requests"], ""),
        ("requests per second", found["rps"], _client_bound(found)),
        ("timed-out requests", found["timed_out"], ""),
        (f"CPU per {event}", cpu["us_per_request"], "us"),
        ("of it in user mode", cpu["user_us_per_request"], "us"),
        ("CPU utilisation", cpu["utilisation"], ""),
        *((f"timers {k} per {event}", n, "")
          for k, n in (found["timers_per_request"] or {}).items()),
        ("resident memory", found["rss_kib"], "KiB"),
        *((f"latency {p} ({latency['kind']})", latency[p], "us") for p in ("p50", "p99", "max")),
        *((f"wrk {k} errors", n, "") for k, n in wrk["errors"].items()),
    ]
    return "\n".join(f"{name:34} {_plain(value):>14} {unit}".rstrip()
                     for name, value, unit in rows if value is not None)


def _client_bound(found: dict) -> str:
    """A note behind requests per second, where it was not the server that limited them."""
    if found["server_bound"] is not False:
        return ""
    return f"(client-bound: the server used {found['cpu']['utilisation']:.0%} of a core)"


def _plain(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
