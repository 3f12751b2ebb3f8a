"""wrk, which makes the load: pinned, told when to stop, its printed report read."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.process import Child
from results.errors import Failed
from results.sample import WRK_ERRORS, Latency, WrkReport

# Long enough that no slow answer is dropped: wrk leaves samples above its timeout (2 s by default)
# out of its histogram, which flatters whoever is slow.
WRK_TIMEOUT = "30s"
STOP_LIMIT_S = 20.0
PIPELINE = Path(__file__).with_name("pipeline.lua")
_UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_LATENCY = re.compile(r"^\s*Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s|m|h)\s", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s*(50|90|99)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
_SOCKET = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True)
class Shape:
    """wrk's command line but for the address."""

    connections: int
    threads: int
    duration_s: int
    as_published: bool = False  # the study's own command line, without any flag of ours
    pipeline: int = 1  # requests in each write

    @property
    def _threads(self) -> int:
        return min(self.threads, self.connections)  # wrk refuses more threads than connections

    @property
    def opened(self) -> int:
        """The connections that wrk really opens: as many in each thread."""
        return self.connections // self._threads * self._threads

    def argv(self, url: str, report: str | None = None) -> list[str]:
        """report: a script of wrk's that prints more than wrk does."""
        ours = [] if self.as_published else ["--latency", "--timeout", WRK_TIMEOUT]
        script = ["-s", str(PIPELINE)] if self.pipeline > 1 else ["-s", report] if report else []
        count = ["--", str(self.pipeline)] if self.pipeline > 1 else []
        return ["wrk", f"-t{self._threads}", f"-c{self.connections}", f"-d{self.duration_s}s",
                *ours, *script, with_path(url), *count]


def with_path(url: str) -> str:
    """The address with "/" as its path where it has none; any other path stays exactly as it is."""
    parts = urlsplit(url)
    return url if parts.path else parts._replace(path="/").geturl()


def parse(text: str) -> WrkReport:
    """wrk's report as numbers; Failed when it is not one."""
    total = _TOTAL.search(text)
    if not total:
        last = (text.strip().splitlines() or ["nothing"])[-1]
        raise Failed(f"wrk gave no report: {last}")
    socket, status = _SOCKET.search(text), _STATUS.search(text)
    errors = dict.fromkeys(WRK_ERRORS, 0)
    if socket:
        errors |= zip(("connect", "read", "write", "timeout"), map(int, socket.groups()))
    if status:
        errors["status"] = int(status[1])
    return WrkReport(requests=int(total[1]), errors=errors, latency_us=_latency(text),
                     duration_s=float(total[2]) * _UNITS[total[3]] / 1e6)


def _latency(text: str) -> Latency:
    """Named for what it is: wrk fills in samples for what it takes to be coordinated omission."""
    found = {f"p{p}": float(value) * _UNITS[unit] for p, value, unit in _PERCENTILE.findall(text)}
    most = _LATENCY.search(text)
    worst = float(most[1]) * _UNITS[most[2]] if most else None
    return Latency(kind="wrk_co_corrected", **{p: found.get(p) for p in ("p50", "p90", "p99")},
                   max=worst)


class Wrk(Child):
    def __init__(self, shape: Shape, url: str, cpus: set[int] | None) -> None:
        super().__init__(shape.argv(url), cpus)
        self.opened = shape.opened

    def by_host(self) -> None:
        """All of it comes from this machine."""

    def finish(self, now: bool = True) -> WrkReport:
        """Its report: at once, or when its own duration is over."""
        if now:
            self.signal(signal.SIGINT)
        code = self.wait(STOP_LIMIT_S)
        if code != 0:
            raise Failed(self.ending() if code is not None else
                         f"wrk did not end within {STOP_LIMIT_S:.0f} s")
        return parse(self.output())
