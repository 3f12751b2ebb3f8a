"""wrk on several client hosts, as if it were one: connections shared out, reports added up."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from harness import wrk
from harness.ssh import Connection, Session, end_all
from harness.wrk import Shape
from results.errors import Failed
from results.sample import WRK_ERRORS, Latency, WrkReport

HISTOGRAM = Path(__file__).with_name("histogram.lua")  # lies in the folder of each client host
PERCENTILES = (50, 90, 99)
_BUCKET = re.compile(r"^bucket (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """What one client host reported."""

    host: str
    connections: int
    report: WrkReport
    buckets: Counter[int]  # microseconds -> answers

    def figures(self) -> dict[str, float]:
        found = {"connections": self.connections, "requests": self.report.requests,
                 "errors": sum(self.report.errors.values())}
        latency = {f"{name}_us": getattr(self.report.latency_us, name) for name in ("p50", "p99")}
        return found | {name: value for name, value in latency.items() if value is not None}


def shares(shape: Shape, clients: int) -> list[Shape]:
    """The same load on so many clients; what does not divide goes to the first ones."""
    each, rest = divmod(shape.connections, clients)
    return [replace(shape, connections=each + (i < rest)) for i in range(clients)]


def percentile(buckets: Counter[int], p: int) -> float | None:
    """As wrk ranks them."""
    rank, seen = round(p / 100 * buckets.total() + 0.5), 0
    for value in sorted(buckets):
        seen += buckets[value]
        if seen >= rank:
            return float(value)
    return float(max(buckets)) if buckets else None


def merged(parts: list[Part]) -> WrkReport:
    """The report of all of them: counts and histograms are added up, percentiles taken anew."""
    reports = [part.report for part in parts]
    buckets = sum((part.buckets for part in parts), Counter())
    worst = [r.latency_us.max for r in reports if r.latency_us.max is not None]
    return WrkReport(
        requests=sum(r.requests for r in reports), duration_s=max(r.duration_s for r in reports),
        errors={name: sum(r.errors[name] for r in reports) for name in WRK_ERRORS},
        latency_us=Latency(kind=reports[0].latency_us.kind, max=max(worst, default=None),
                           **{f"p{p}": percentile(buckets, p) for p in PERCENTILES}))


class ClientWrk(Session):
    def __init__(self, client: Connection, shape: Shape, url: str) -> None:
        self.shape = shape
        script = None if shape.as_published else HISTOGRAM.name
        super().__init__(client, shape.argv(url, script))

    def part(self, limit_s: float) -> Part:
        code = self.wait(limit_s)
        if code is None:
            raise Failed(f"wrk on {self.host} did not end within {wrk.STOP_LIMIT_S:.0f} s")
        if self.refused:
            raise self.lost()
        if code != 0:
            raise Failed(self.ending())
        text = self.output()
        found = Part(self.host, self.shape.opened, wrk.parse(text),
                     Counter({int(value): int(n) for value, n in _BUCKET.findall(text)}))
        if not found.buckets and found.report.requests and not self.shape.as_published:
            raise Failed(f"wrk on {self.host} printed no histogram")
        return found


class Wrks:
    """Stands where a Wrk stands on one machine. Its processes are on other hosts than the server."""

    pid = 0

    def __init__(self, clients: list[Connection], shape: Shape, url: str) -> None:
        self._wrks: list[ClientWrk] = []
        self.parts: list[Part] = []
        try:
            for client, share in zip(clients, shares(shape, len(clients)), strict=True):
                self._wrks.append(ClientWrk(client, share, url))
        except BaseException:
            self.end()
            raise
        for each in self._wrks:
            each.go()

    def __enter__(self) -> Wrks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.end()

    @property
    def running(self) -> bool:
        return all(each.running for each in self._wrks)

    def failure(self, when: str) -> Failed:
        return next(each.failure(when) for each in self._wrks if not each.running)

    @property
    def opened(self) -> int:
        return sum(each.shape.opened for each in self._wrks)

    def by_host(self) -> dict[str, dict[str, float]]:
        return {part.host: part.figures() for part in self.parts}

    def end(self) -> None:
        end_all(self._wrks)

    def finish(self, now: bool = True) -> WrkReport:
        """The report of all: at once, or when their own duration is over."""
        for each in self._wrks if now else ():
            each.signal(signal.SIGINT)
        limit = time.monotonic() + wrk.STOP_LIMIT_S
        self.parts = [each.part(max(0.1, limit - time.monotonic())) for each in self._wrks]
        return merged(self.parts)
