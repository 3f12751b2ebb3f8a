"""From samples to the figures of the report: a row per cell, comparisons, and the headline.

Nothing here is words: content.py writes them. The primary figure is CPU microseconds per request
(per expired request where every request times out).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from report.profiles import Profile
from report.run import Run
from results import stats
from results.cell import CONTROL, IOS, Cell
from results.sample import SHARES, TIMER_COUNTS, Sample, flags_of, left_out, usable
from results.schema import value
from results.stats import Outcome

_OTHER_FLAGS = "gates that the count of system calls or the profile failed"
_OTHER_FAILURES = "why there is no count of system calls, or no profile"
# A difference within this is none, unless the A/A series says that even more is noise.
LEAST_MARGIN = 0.01
# An exact two-sided Mann-Whitney test of fewer rounds a side cannot reach p < 0.05.
ROUNDS_FOR_MANN_WHITNEY = 4
NEAR = 1.1  # up to this ratio to the baseline a variant costs next to nothing


@dataclass
class Comparison:
    """A row against the baseline of its conditions, as a ratio."""

    baseline: str
    ratio: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n: int = 1
    outcome: Outcome = Outcome.UNTESTED
    margin: float = LEAST_MARGIN  # a difference within it is none
    rounds_needed: int = stats.MIN_ROUNDS  # for a verdict among as many comparisons


@dataclass
class Row:
    """Everything the report says about one cell. None: not measured."""

    cell: Cell = value("", "what was measured", ("scenario", "timeouts", "backend", "rearm",
                                                 "connections", "alias", "io"))
    rounds: int = value("rounds", "how often the cell was timed")
    valid_rounds: int = value("rounds", "rounds that could be measured")
    flags: list[str] = value("", "gates that failed in rounds that count")
    failures: list[str] = value("", "why rounds could not be measured")
    cpu_us: float | None = value("µs", "CPU time per request: the median of the rounds")
    cpu_us_by_round: dict[int, float] = value("µs", "CPU time per request in each round",
                                              ("<round>",))
    rps: float | None = value("requests/s", "requests per second: the median of the rounds")
    server_bound: bool = value("", "whether the server was the bottleneck in every round")
    utilisation: float | None = value("share", "median of `cpu.utilisation`")
    timers_per_request: dict[str, float] = value("calls/request", "as in the samples: medians of the rounds",
                                                 TIMER_COUNTS)
    expired: int = value("timers", "timers that ran in the windows of all rounds")
    p99_us: float | None = value("µs", "median of wrk's p99 latency")
    late_p99_us: float | None = value("µs", "median of the p99 lateness of timers")
    rss_kib: float | None = value("KiB", "median of the resident memory")
    errors: int = value("errors", "errors that wrk counted, without the closes that the scenario intends")
    syscalls: dict[str, float] = value("calls/request", "`per_request` of the samples: medians of the rounds",
                                       ("total", "<call>"), default_factory=dict)
    timer_share: dict[str, float] = value("share", "the timer's shares of the profile", SHARES,
                                          default_factory=dict)
    timer_us: float | None = value("µs", "CPU time per request that the timer owns", default=None)
    rounds_left_out: int = value(
        "rounds", "rounds that do not count: they failed a gate, and at least half of the valid "
        "rounds did not", default=0)
    flags_left_out: list[str] = value("", "gates that these rounds failed", default_factory=list)
    syscall_flags: list[str] = value("", _OTHER_FLAGS, default_factory=list)
    profile_flags: list[str] = value("", _OTHER_FLAGS, default_factory=list)
    syscall_failures: list[str] = value("", _OTHER_FAILURES, default_factory=list)
    profile_failures: list[str] = value("", _OTHER_FAILURES, default_factory=list)
    comparison: Comparison | None = None

    @property
    def valid(self) -> bool:
        return self.valid_rounds > 0


def rows(run: Run, profiles: list[Profile]) -> list[Row]:
    """All timing cells in reading order, each with its profile, system calls and comparison."""
    by_cell = {p.cell: p for p in profiles}
    found = [_row(run, cell, samples, by_cell.get(cell))
             for cell, samples in run.of_kind("load").items()]
    found.sort(key=lambda row: row.cell.sort_key())
    margin = noise_margin(found)
    for rivals in _by_rivals(found).values():
        _compare_with_baseline(rivals, margin, seed_of(run))
    return found


def seed_of(run: Run) -> int:
    """The run's own seed also seeds its statistics: the same samples, the same report."""
    return int(run.manifest.get("seed") or 0)


def by_conditions(found: list[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Rows that may be compared with each other."""
    return _grouped(found, lambda cell: cell.conditions)


def _by_rivals(found: list[Row]) -> dict[tuple[str, str, int, str], list[Row]]:
    """Rows that share a baseline."""
    return _grouped(found, lambda cell: cell.rivals)


def _grouped(found: list[Row], key: Callable[[Cell], tuple]) -> dict[tuple, list[Row]]:
    table: dict[tuple, list[Row]] = {}
    for row in found:
        table.setdefault(key(row.cell), []).append(row)
    return table


def _row(run: Run, cell: Cell, samples: list[Sample], profile: Profile | None) -> Row:
    best = usable(samples)
    cpu = {s.round: s.cpu.us_per_request for s in best if s.cpu and _known(s.cpu.us_per_request)}
    calls = usable(run.of_kind("syscalls").get(cell, []))
    profiled = usable(run.of_kind("profile").get(cell, []))
    unused = left_out(samples)
    return Row(
        cell=cell, rounds=len(samples), valid_rounds=sum(s.valid for s in samples),
        flags=flags_of(best),
        failures=_errors_of(samples),
        cpu_us=_median(list(cpu.values())), cpu_us_by_round=cpu,
        rps=_median([s.rps for s in best]), server_bound=all(s.cpu and s.cpu.saturated for s in best),
        utilisation=_median([s.cpu.utilisation for s in best if s.cpu]),
        timers_per_request=_medians([s.timers_per_request or {} for s in best]),
        expired=sum((s.timers or {}).get("expired") or 0 for s in best),
        p99_us=_median([s.wrk.latency_us.p99 for s in best if s.wrk and s.wrk.latency_us]),
        late_p99_us=_median([s.late_us.p99 for s in best if s.late_us]),
        rss_kib=_median([s.rss_kib for s in best]),
        errors=sum(_errors(cell, s.wrk.errors or {}) for s in best if s.wrk),
        syscalls=_medians([s.per_request or {} for s in calls]),
        timer_share=profile.shares.get("timer", {}) if profile else {},
        timer_us=profile.owner_us("timer") if profile and profile.shares else None,
        rounds_left_out=len(unused), flags_left_out=flags_of(unused),
        syscall_flags=flags_of(calls), profile_flags=flags_of(profiled),
        syscall_failures=_errors_of(calls), profile_failures=_errors_of(profiled))


def _errors_of(samples: list[Sample]) -> list[str]:
    return sorted({s.error for s in samples if s.error})


def _errors(cell: Cell, counts: dict[str, int]) -> int:
    """Where requests time out by design, the server's closes are wrk's read errors: not errors."""
    return sum(n for kind, n in counts.items() if not cell.closes or kind != "read")


def _known(found: object) -> bool:
    return isinstance(found, (int, float)) and math.isfinite(found)


def _median(values: list) -> float | None:
    known = [v for v in values if _known(v)]
    return median(known) if known else None


def _medians(tables: list[dict]) -> dict[str, float]:
    keys = dict.fromkeys(key for table in tables for key in table)
    found = {key: _median([table.get(key) for table in tables]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def baseline_of(alike: list[Row]) -> Row | None:
    """`none` where it ran: what the rest of the server costs. Else the wheel, lazily re-armed."""
    known = [row for row in alike if row.cpu_us and not row.cell.alias]
    control = [row for row in known if row.cell.backend == CONTROL]
    wheel = [row for row in known if row.cell.backend == "hierarchical-wheel"]
    return next(iter(control + sorted(wheel, key=lambda row: row.cell.rearm != "lazy")), None)


def twins(found: list[Row]) -> list[tuple[Row, Row]]:
    """Each row of the A/A series beside the row it repeats."""
    same = {row.cell: row for row in found if not row.cell.alias}
    plain = [(row, same.get(replace(row.cell, alias=None))) for row in found if row.cell.alias]
    return [(row, twin) for row, twin in plain if twin]


def noise_margin(found: list[Row]) -> float:
    """What counts as no difference: 1 %, or the A/A series' noise band where that is wider."""
    pairs = [pair for row, twin in twins(found) for pair in _blocks(row, twin)]
    return max(LEAST_MARGIN, stats.noise_band(pairs) or 0.0)


def _blocks(row: Row, base: Row) -> list[tuple[float, float]]:
    """The rounds in which both were measured."""
    both = sorted(row.cpu_us_by_round.keys() & base.cpu_us_by_round.keys())
    return [(row.cpu_us_by_round[n], base.cpu_us_by_round[n]) for n in both]


def _compare_with_baseline(alike: list[Row], margin: float, seed: int) -> None:
    base = baseline_of(alike)
    if base is None:
        return
    for row in alike:
        if row.cpu_us and row is not base:
            row.comparison = paired(row, base, seed)
    judge([row.comparison for row in alike if row.comparison], margin)


def paired(row: Row, base: Row, seed: int) -> Comparison:
    """`row` as a ratio to `base`, block by block; a plain ratio where they share one round or none.
    """
    found = stats.compare_blocks(_blocks(row, base), seed)
    ratio = found["estimate"] if found["n"] > 1 else row.cpu_us / base.cpu_us
    return Comparison(base.cell.variant, ratio, found["low"], found["high"], found["p"],
                      n=found["n"])


def judge(comparisons: list[Comparison], margin: float) -> None:
    """Holm over those that may be compared, then the verdict."""
    tested = [c for c in comparisons if c.p is not None]
    for comparison, p in zip(tested, stats.holm([c.p for c in tested])):
        comparison.p_holm, comparison.margin = p, margin
        comparison.rounds_needed = stats.rounds_needed(len(tested))
        comparison.outcome = stats.verdict(comparison.low, comparison.high, p, margin)


@dataclass(frozen=True)
class Pair:
    """A cell of two result folders; unpaired, because they share no rounds."""

    a: Row
    b: Row
    ratio: float  # B over A
    p_holm: float | None
    outcome: Outcome


def shared(a: list[Row], b: list[Row]) -> list[Pair]:
    """The cells that both folders timed."""
    theirs = {row.cell: row for row in b if row.cpu_us}
    pairs = [(row, theirs[row.cell]) for row in a if row.cpu_us and row.cell in theirs]
    found = [_unpaired(mine, other) for mine, other in pairs]
    adjusted = iter(stats.holm([p for _, p in found if p is not None]))
    return [_pair(*rows, ratio, next(adjusted) if p is not None else None)
            for rows, (ratio, p) in zip(pairs, found)]


def _unpaired(a: Row, b: Row) -> tuple[float, float | None]:
    rounds = [list(row.cpu_us_by_round.values()) for row in (b, a)]
    if min(map(len, rounds)) < ROUNDS_FOR_MANN_WHITNEY:
        return b.cpu_us / a.cpu_us, None
    found = stats.mann_whitney(*rounds)
    return found["shift"], found["p"]


def _pair(a: Row, b: Row, ratio: float, p_holm: float | None) -> Pair:
    if p_holm is None:
        return Pair(a, b, ratio, None, Outcome.UNTESTED)
    changed = Outcome.SLOWER if ratio > 1 else Outcome.FASTER
    return Pair(a, b, ratio, p_holm, changed if p_holm < 0.05 else Outcome.INCONCLUSIVE)


@dataclass
class Headline:
    """The conditions under which the timers weigh most, and what stands out there."""

    base: Row | None  # what the others are compared with
    others: list[Row]  # cheapest first
    near: list[Row]  # of them, those that cost next to nothing
    growth: list[tuple[int, float]]  # the dearest variant: connections and CPU µs per request


def headline(found: list[Row]) -> Headline:
    alike = max(_by_rivals(found).values(), default=[], key=_rank)
    base = baseline_of(alike)
    others = sorted((r for r in alike if r.cpu_us and r is not base and not r.cell.alias),
                    key=lambda row: row.cpu_us)
    if base is None or not others:
        return Headline(base, others, [], [])
    near = [row for row in others if row.cpu_us <= NEAR * base.cpu_us]
    return Headline(base, others, near, _growth(found, others[-1].cell))


def _rank(rivals: list[Row]) -> tuple:
    """Highest for S1 on the default transport, if there is something to compare."""
    cell, contrast = rivals[0].cell, _contrast(rivals)
    return cell.workload == "respond", contrast > 0, cell.io == IOS[0], contrast


def _contrast(alike: list[Row]) -> float:
    """How far apart the rows are; 0 where nothing can be compared."""
    base = baseline_of(alike)
    known = [row.cpu_us for row in alike if row.cpu_us]
    return max(known) / base.cpu_us if base and len(known) > 1 else 0.0


def _growth(found: list[Row], cell: Cell) -> list[tuple[int, float]]:
    """How a variant's cost moves with the number of connections."""
    return sorted((row.cell.connections, row.cpu_us) for row in found
                  if row.cpu_us and replace(row.cell, connections=cell.connections) == cell)
