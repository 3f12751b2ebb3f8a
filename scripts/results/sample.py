"""A sample: what one measurement found. Each is a line of samples.jsonl.

Every field is defined here and nowhere else, with its unit and meaning; scripts/README.md lists
them from here (python3 -m results.sample prints the table).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from results import schema
from results.cell import IOS, Cell, Measurement
from results.folded import Stack
from results.schema import record, value

# Neighbouring fields that share one of these texts share a row of the table.
_CELL = "the cell that was measured (see the words)"
_SPLIT = "CPU time of the server process in the window, split by the kernel's ticks"
_LATE = "how late timers ran, since the server began"
_LATENCY = "latency as wrk reports it"
_ARRIVED = "requests that arrived in the window, and those that timed out in it"
_ANSWERED = ("requests answered and requests timed out, from the start of the server to its end, "
             "without the one GET that checks the server")
_STACKS = "stacks that perf recorded, and those that it lost"
_FILES = "files of the folded stacks: all rounds so far, and this round"

BOUND = 0.95  # a server that uses this much of its core is the bottleneck
TIMER_COUNTS = ("armed", "rearmed", "moved", "disarmed", "expired")
SHARES = ("self", "inclusive", "owner")
CLIENT_FIGURES = ("connections", "requests", "errors", "p50_us", "p99_us")
WRK_ERRORS = ("connect", "read", "write", "status", "timeout")


@dataclass(kw_only=True)
class Cpu:
    user_s: float | None = value("s", _SPLIT)
    sys_s: float | None = value("s", _SPLIT)
    utilisation: float | None = value("share", "CPU time over the length of the window")
    outside_s: float | None = value("s", "the same CPU time, read from the kernel instead of from "
                                    "the server")
    us_per_request: float | None = value("µs", "the primary figure: CPU time per request; per "
                                         "timed-out request in `increasing-timeout`", default=None)

    @property
    def saturated(self) -> bool:
        """Whether the server, of one thread, was the bottleneck. Its core may be busy with more."""
        return (self.utilisation or 0.0) >= BOUND

    @property
    def system_share(self) -> float:
        """The part of the CPU time that was spent in the kernel."""
        return self.sys_s / ((self.user_s + self.sys_s) or 1.0)


@dataclass(kw_only=True)
class Lateness:
    p50: float | None = value("µs", _LATE)
    p99: float | None = value("µs", _LATE)
    max: float | None = value("µs", _LATE)


@dataclass(kw_only=True)
class Host:
    steal_pct: float | None = value("%", "time of the cores in use, and of their hardware siblings, "
                                    "that the hypervisor gave to others")
    psi_some_pct: float | None = value("%", "time in which some task waited for a core")
    foreign_pct: float | None = value("% of one core", "CPU time that programs which are not part "
                                      "of the measurement used on these cores")
    server_core_busy: float | None = value("share", "how busy the server's core was", default=None)


@dataclass(kw_only=True)
class Latency:
    kind: str | None = value("", "`wrk_co_corrected`: wrk rewrites its histogram for coordinated "
                             "omission")
    p50: float | None = value("µs", _LATENCY)
    p90: float | None = value("µs", _LATENCY)
    p99: float | None = value("µs", _LATENCY)
    max: float | None = value("µs", _LATENCY)


@dataclass(kw_only=True)
class WrkReport:
    requests: int | None = value("requests", "answers that wrk counted in its whole run")
    duration_s: float | None = value("s", "length of wrk's run")
    errors: dict[str, int] = value("errors", "errors that wrk counted; `status` is an answer other "
                                   "than 2xx or 3xx", WRK_ERRORS)
    latency_us: Latency = record(Latency)


@dataclass(kw_only=True)
class Totals:
    responses: int | None = value("requests", _ANSWERED)
    timed_out: int | None = value("requests", _ANSWERED)


@dataclass(kw_only=True)
class Identity:
    id: str = value("", "name of the measurement (round, cell, kind), unique in the study")
    kind: str = value("", "`load`, `syscalls`, `profile` or `dwarf`")
    round: int = value("", "number of the round, from 1")
    scenario: str = value("", _CELL)
    timeouts: str = value("", _CELL)
    backend: str = value("", _CELL)
    rearm: str = value("", _CELL)
    connections: int = value("", _CELL)
    alias: str | None = value("", "`A/A` for the second measurement of a variant in a round, "
                              "else null")
    io: str = value("", "the server's transport: `epoll` or `io_uring`; folders of earlier versions, "
                    "which lack it, have `epoll`")

    @property
    def cell(self) -> Cell:
        return Cell(self.scenario, self.timeouts, self.backend, self.rearm, self.connections,
                    self.alias, self.io)


@dataclass(kw_only=True)
class Window:
    """What lies between two readings of the counters. None: nobody could tell."""

    window_s: float | None = value("s", "length of the window, on the server's clock", default=None)
    requests: int | None = value("requests", _ARRIVED, default=None)
    timed_out: int | None = value("requests", _ARRIVED, default=None)
    rps: float | None = value("requests/s", "`requests` over `window_s`", default=None)
    cpu: Cpu | None = record(Cpu, default=None)
    timers: dict[str, int] | None = value(
        "calls", "calls of the timer facility in the window; `moved` counts structural moves in "
        "the backend, `expired` timers that ran", TIMER_COUNTS, default=None)
    late_us: Lateness | None = record(Lateness, default=None)
    bytes_out: int | None = value("bytes", "bytes that the server sent in the window", default=None)
    writes: int | None = value("calls", "write calls that sent them", default=None)
    connections_open: int | None = value("connections", "open connections at the start or the end "
                                         "of the window, whichever were fewer", default=None)
    host: Host | None = record(Host, default=None)
    rss_kib: int | None = value("KiB", "resident memory of the server at the end of the window",
                                default=None)


@dataclass(kw_only=True)
class Sample(Window, Identity):  # the bases' fields come from right to left
    order: int | None = value("", "place in the order of measuring, from 0", default=None)
    valid: bool = value("", "false when the measurement failed; it is made again when the study "
                        "continues", default=True)
    flags: list[str] = value("", "gates that the sample failed", default_factory=list)
    error: str | None = value("", "why the measurement failed", default=None)
    retried: bool = value("", "whether this is the second attempt, after a gate or a failure",
                          default=False)
    t0: str | None = value("UTC", "when the measurement began, ISO 8601", default=None)

    # kind load
    server_bound: bool | None = value("", "whether the server was the bottleneck: it used at least "
                                      "95 % of its core", default=None)
    timers_per_request: dict[str, float] | None = value(
        "calls/request", "`timers`, divided like `cpu.us_per_request`", TIMER_COUNTS, default=None)
    connections_asked: int | None = value("connections", "connections that wrk opens (as many in "
                                          "each of its threads)", default=None)
    wrk: WrkReport | None = record(WrkReport, default=None)
    totals: Totals | None = record(Totals, default=None)
    clients: dict[str, dict[str, float]] | None = value(
        "", "where several hosts made the load, what each of them did in its whole run: its part of "
        "the connections, its answers and its errors, and its own latency in µs",
        tuple(f"<host>.{name}" for name in CLIENT_FIGURES), default=None)

    # kind syscalls
    per_request: dict[str, float] | None = value(
        "calls/request", "system calls, counted by perf; a call that the kernel cannot count is "
        "absent", ("total", "<call>"), default=None)

    # kinds profile and dwarf
    samples: int | None = value("stacks", _STACKS, default=None)
    lost: int | None = value("stacks", _STACKS, default=None)
    frequency: int | None = value("Hz", "stacks recorded per second of CPU time", default=None)
    us_per_request: float | None = value("µs", "CPU time per request in this window, as in "
                                         "`cpu.us_per_request`", default=None)
    shares: dict[str, dict[str, float]] | None = value(
        "share", "shares of the stacks, for each owner group (see the words)",
        tuple(f"<group>.{kind}" for kind in SHARES), default=None)
    unresolved: float | None = value("share", "broken stacks: their outer end was lost",
                                     default=None)
    timer_us_per_request: dict[str, float] | None = value(
        "µs", "the timer's share of `us_per_request`", SHARES, default=None)
    folded: str | None = value("", _FILES, default=None)
    round_folded: str | None = value("", _FILES, default=None)
    stacks: Counter[Stack] | None = field(default=None, compare=False, repr=False)  # of the files

    @staticmethod
    def of(measurement: Measurement, window: Window | None = None, **fields: object) -> Sample:
        """The sample of a measurement, with the figures of its window."""
        figures = dict(vars(window)) if window else {}
        labels = {"id": measurement.id, "kind": measurement.kind, "round": measurement.round}
        return Sample(**labels, **asdict(measurement.cell), **(figures | fields))

    def to_json(self) -> dict:
        return schema.to_json(self)

    @staticmethod
    def from_json(data: dict) -> Sample:
        """KeyError, TypeError or ValueError when it lacks what says which cell it is of."""
        known = {"timeouts": "default", "round": 0, "alias": None, "io": IOS[0]} | data
        missing = [name for name in ("id", "kind", "scenario", "backend", "rearm", "connections")
                   if name not in data]
        if missing:
            raise KeyError(missing[0])
        return schema.from_json(Sample, known | {"connections": int(known["connections"])})


def usable(samples: list[Sample]) -> list[Sample]:
    """The samples of a cell that count.

    Those with a flag are left out where at least half of the valid ones have none. All count where
    none is valid, for a flagged figure beats a missing one.
    """
    valid = [s for s in samples if s.valid]
    clean = [s for s in valid if not s.flags]
    return (clean if 2 * len(clean) >= len(valid) else valid) or samples


def left_out(samples: list[Sample]) -> list[Sample]:
    """The valid samples that do not count, because of their flags."""
    counted = {id(s) for s in usable(samples)}
    return [s for s in samples if s.valid and id(s) not in counted]


def flags_of(samples: list[Sample]) -> list[str]:
    return sorted({flag for s in samples for flag in s.flags})


if __name__ == "__main__":
    print(schema.table(schema.described(Sample)), end="")
