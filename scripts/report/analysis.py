"""From samples to the figures of the report: one row a cell, comparisons, and the verdict.

The primary figure is CPU microseconds per request (per expired request where every request times
out). Requests per second is given only where the server was the bottleneck, because on two cores
the load generator often is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import median

from harness import stats
from report.profiles import Profile
from report.results import Cell, Run, usable
from report.tables import number, percent, times

# A difference within this is none, unless the A/A series says that even more is noise.
LEAST_MARGIN = 0.01


@dataclass
class Comparison:
    """A row against its group's baseline, or against the same cell of another folder, as ratio."""

    baseline: str
    ratio: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n: int = 1
    verdict: str = ""


@dataclass
class Row:
    """Everything the report says about one cell. None: not measured."""

    cell: Cell
    rounds: int
    valid_rounds: int
    flags: list[str]
    failures: list[str]
    cpu_us: float | None
    cpu_us_by_round: dict[int, float]
    rps: float | None
    server_bound: bool
    utilisation: float | None
    timers_per_request: dict[str, float]
    expired: int
    p99_us: float | None
    late_p99_us: float | None
    rss_kib: float | None
    errors: int
    syscalls: dict[str, float] = field(default_factory=dict)
    timer_share: dict[str, float] = field(default_factory=dict)
    timer_us: float | None = None
    comparison: Comparison | None = None

    @property
    def valid(self) -> bool:
        return self.valid_rounds > 0

    @property
    def rps_note(self) -> str:
        """Why requests per second is withheld; empty where it is not."""
        if self.server_bound or self.rps is None:
            return ""
        if self.utilisation is None:
            return "the server was not the bottleneck"
        return f"the server was not the bottleneck (its core was {percent(self.utilisation)} busy)"


def rows(run: Run, profiles: list[Profile]) -> list[Row]:
    """All timing cells in reading order, each with its profile, system calls and comparison."""
    by_cell = {p.cell: p for p in profiles}
    found = [_row(run, cell, samples, by_cell.get(cell))
             for cell, samples in run.of_kind("load").items()]
    found.sort(key=lambda row: row.cell.order())
    margin = noise_margin(found)
    for group in groups(found).values():
        _compare_with_baseline(group, margin, seed_of(run))
    return found


def seed_of(run: Run) -> int:
    """The run's own seed also seeds its statistics: the same samples, the same report."""
    return int(run.manifest.get("seed") or 0)


def groups(found: list[Row]) -> dict[tuple[str, str, int], list[Row]]:
    table: dict[tuple[str, str, int], list[Row]] = {}
    for row in found:
        table.setdefault(row.cell.group, []).append(row)
    return table


def _row(run: Run, cell: Cell, samples: list[dict], profile: Profile | None) -> Row:
    best = usable(samples)
    cpu = {s["round"]: _at(s, "cpu", "us_per_request") for s in best
           if _number(_at(s, "cpu", "us_per_request"))}
    calls = usable(run.of_kind("syscalls").get(cell, []))
    return Row(
        cell=cell, rounds=len(samples),
        valid_rounds=sum(bool(s.get("valid", True)) for s in samples),
        flags=sorted({flag for s in samples for flag in s.get("flags", [])}),
        failures=sorted({s["error"] for s in samples if s.get("error")}),
        cpu_us=_median(list(cpu.values())), cpu_us_by_round=cpu,
        rps=_median([s.get("rps") for s in best]),
        server_bound=all(s.get("server_bound", False) for s in best),
        utilisation=_median([_at(s, "cpu", "utilisation") for s in best]),
        timers_per_request=_medians([s.get("timers_per_request") or {} for s in best]),
        expired=sum(_at(s, "timers", "expired") or 0 for s in best),
        p99_us=_median([_at(s, "wrk", "latency_us", "p99") for s in best]),
        late_p99_us=_median([_at(s, "late_us", "p99") for s in best]),
        rss_kib=_median([s.get("rss_kib") for s in best]),
        errors=sum(_errors(cell, _at(s, "wrk", "errors") or {}) for s in best),
        syscalls=_medians([s.get("per_request") or {} for s in calls]),
        timer_share=profile.shares.get("timer", {}) if profile else {},
        timer_us=profile.owner_us("timer") if profile and profile.shares else None)


def _errors(cell: Cell, counts: dict[str, int]) -> int:
    """Where requests time out by design, the server's closes are wrk's read errors: not errors."""
    return sum(n for kind, n in counts.items() if cell.scenario == "respond" or kind != "read")


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _at(sample: dict, *path: str):
    found: object = sample
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _median(values: list) -> float | None:
    known = [v for v in values if _number(v)]
    return median(known) if known else None


def _medians(tables: list[dict]) -> dict[str, float]:
    keys = dict.fromkeys(key for table in tables for key in table)
    found = {key: _median([table.get(key) for table in tables]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def baseline_of(group: list[Row]) -> Row | None:
    """`none` where it ran: what the rest of the server costs. Else the wheel, lazily re-armed."""
    known = [row for row in group if row.cpu_us and not row.cell.alias]
    control = [row for row in known if row.cell.backend == "none"]
    wheel = [row for row in known if row.cell.backend == "hierarchical-wheel"]
    return next(iter(control + sorted(wheel, key=lambda row: row.cell.rearm != "lazy")), None)


def twins(found: list[Row]) -> list[tuple[Row, Row]]:
    """Each row of the A/A series beside the row it repeats."""
    same = {(row.cell.group, row.cell.variant): row for row in found if not row.cell.alias}
    plain = [(row, same.get((row.cell.group, replace(row.cell, alias=None).variant)))
             for row in found if row.cell.alias]
    return [(row, twin) for row, twin in plain if twin]


def noise_margin(found: list[Row]) -> float:
    """What counts as no difference: 1 %, or the A/A series' noise band where that is wider."""
    pairs = [pair for row, twin in twins(found) for pair in _blocks(row, twin)]
    return max(LEAST_MARGIN, stats.noise_band(pairs) or 0.0)


def _blocks(row: Row, base: Row) -> list[tuple[float, float]]:
    """The rounds in which both were measured."""
    both = sorted(row.cpu_us_by_round.keys() & base.cpu_us_by_round.keys())
    return [(row.cpu_us_by_round[n], base.cpu_us_by_round[n]) for n in both]


def _compare_with_baseline(group: list[Row], margin: float, seed: int) -> None:
    base = baseline_of(group)
    if base is None:
        return
    for row in group:
        if row.cpu_us and row is not base:
            row.comparison = paired(row, base, seed)
    _judge([row.comparison for row in group if row.comparison], margin)


def paired(row: Row, base: Row, seed: int) -> Comparison:
    """`row` as a ratio to `base`, block by block; a plain ratio where they share one round or none.
    """
    found = stats.compare_blocks(_blocks(row, base), seed)
    ratio = found["estimate"] if found["n"] > 1 else row.cpu_us / base.cpu_us
    return Comparison(base.cell.variant, ratio, found["low"], found["high"], found["p"],
                      n=found["n"])


def _judge(comparisons: list[Comparison], margin: float) -> None:
    """Holm over the group, then the verdict in words."""
    tested = [c for c in comparisons if c.p is not None]
    for comparison, p in zip(tested, stats.holm([c.p for c in tested])):
        comparison.p_holm = p
        comparison.verdict = verdict_word(comparison, margin, stats.rounds_needed(len(tested)))


def verdict_word(comparison: Comparison, margin: float, needed: int = stats.MIN_ROUNDS) -> str:
    """faster, slower, no difference within ±x %, or inconclusive (and why, if rounds lack)."""
    found = {"low": comparison.low, "high": comparison.high}
    word = stats.verdict(found, comparison.p_holm, margin)
    if word == "inconclusive" and comparison.n < needed:
        return f"inconclusive ({comparison.n} rounds, {needed} needed for a verdict among so many)"
    return word


def verdict(found: list[Row]) -> list[str]:
    """The page's opening sentences, from the level where the timers weigh most."""
    if not found:
        return ["No cell was timed; the profiles stand alone."]
    group = _headline_group(found)
    base = baseline_of(group) if group else None
    if base is None:
        return [f"{len(found)} cells were timed; none of them is a control to compare with."]
    others = sorted((r for r in group if r.cpu_us and r is not base and not r.cell.alias),
                    key=lambda row: row.cpu_us)
    if not others:
        return [f"Only {base.cell.variant} was measured: {base.cpu_us:.1f} µs of CPU per request."]
    return [_dearest(others[-1], base), *_near(others, base), *_judgements(others, base),
            *_growth(found, others[-1])]


def _headline_group(found: list[Row]) -> list[Row]:
    plain = [g for key, g in groups(found).items() if key[0] == "respond" and key[1] == "default"]
    return max(plain or list(groups(found).values()), default=[], key=_contrast)


def _contrast(group: list[Row]) -> float:
    """How far apart the group's cells are; 0 where nothing can be compared."""
    base = baseline_of(group)
    known = [row.cpu_us for row in group if row.cpu_us]
    return max(known) / base.cpu_us if base and len(known) > 1 else 0.0


def _dearest(row: Row, base: Row) -> str:
    share = row.timer_share.get("owner")
    inside = "" if share is None else f"; {percent(share)} of its CPU time is spent in the timer"
    return (f"At {number(row.cell.connections, 0)} connections {row.cell.variant} costs "
            f"{row.cpu_us:.1f} µs of CPU per request, {times(row.cpu_us / base.cpu_us)} "
            f"{base.cell.variant} ({base.cpu_us:.1f} µs){inside}.")


def _near(others: list[Row], base: Row) -> list[str]:
    """Which variants cost next to nothing, a backend at a time."""
    near: dict[str, list[str]] = {}
    for row in others:
        if row.cpu_us <= 1.1 * base.cpu_us:
            near.setdefault(row.cell.backend, []).append(
                f"{row.cell.rearm} {times(row.cpu_us / base.cpu_us)}")
    if not near:
        return [f"No variant stays within 10 % of {base.cell.variant}."]
    names = ", ".join(f"{backend} ({', '.join(found)})" for backend, found in near.items())
    return [f"Within 10 % of {base.cell.variant}: {names}."]


def _judgements(others: list[Row], base: Row) -> list[str]:
    """What the statistics say at this level; nothing with a single round."""
    words: dict[str, list[str]] = {}
    for row in others:
        if row.comparison and row.comparison.verdict:
            words.setdefault(row.comparison.verdict, []).append(row.cell.variant)
    if not words:
        return []
    if base.rounds < stats.MIN_ROUNDS:
        return [f"{base.rounds} rounds are too few for a verdict; {stats.MIN_ROUNDS} are needed."]
    told = "; ".join(f"{word}: {', '.join(names)}" for word, names in words.items())
    return [f"Tested against {base.cell.variant}: {told}."]


def _growth(found: list[Row], dearest: Row) -> list[str]:
    """How the dearest variant's cost moves with the number of connections."""
    cell = dearest.cell
    line = sorted((r.cell.connections, r.cpu_us) for r in found if r.cpu_us and
                  (r.cell.scenario, r.cell.timeouts, r.cell.backend, r.cell.rearm, r.cell.alias)
                  == (cell.scenario, cell.timeouts, cell.backend, cell.rearm, None))
    if len(line) < 2:
        return []
    steps = ", ".join(f"{us:.1f} at {number(connections, 0)}" for connections, us in line)
    return [f"{cell.variant} in µs per request by connections: {steps}."]
