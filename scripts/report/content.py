"""The tables of the report: what is shown, in which words. No HTML, no Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from report import analysis
from report.analysis import Comparison, Headline, Row
from report.profiles import Profile
from report.run import Run
from report.tables import NOTHING, Table, Text, micros, number, percent, star, times
from results import stats
from results.cell import CONTROL
from results.groups import GROUPS
from results.stats import Outcome

SCENARIO_WORDS = {
    "respond": "S1: every request answered at once",
    "increasing-timeout": "S2: every request times out",
    "mixed": "mixed: one request in ten times out",
}
SHORT_WORDS = {"respond": "S1", "increasing-timeout": "S2 (per expired request)", "mixed": "mixed"}
ABOUT_SCENARIOS = ("S1 answers every request at once; in S2 every request times out. The number in "
                   "a heading is that of the connections.")
# The owner groups, in the order in which the ledger stacks them.
LEDGER = tuple(GROUPS)


@dataclass
class Findings:
    """What one result folder says. Where two are compared, `name` (A or B) and `title` say which it
    is; both are empty otherwise.
    """

    name: str
    run: Run
    profiles: list[Profile]
    rows: list[Row]
    title: str = ""

    def label(self, profile: Profile) -> str:
        label = profile.cell.label + star(profile.flags)
        return f"{self.title}: {label}" if self.title else label

    def key(self, profile: Profile) -> str:
        return f"{self.name}:{profile.key}" if self.name else profile.key


def unit(scenario: str) -> str:
    return "expired request" if scenario == "increasing-timeout" else "request"


def heading(scenario: str, timeouts: str) -> str:
    words = SCENARIO_WORDS.get(scenario, scenario)
    return f"{words}, short timeouts" if timeouts == "short" else words


def opening(found: list[Row]) -> list[str]:
    """The page's first sentences, from the conditions under which the timers weigh most."""
    if not found:
        return ["No cell was timed; the profiles stand alone."]
    head = analysis.headline(found)
    if head.base is None:
        return [f"{len(found)} cells were timed; none of them is a control to compare with."]
    if not head.others:
        return [f"Only {head.base.cell.variant} was measured: {head.base.cpu_us:.1f} µs of CPU per "
                "request."]
    return [_dearest(head.others[-1], head.base), _near(head), *_judgements(head), *_growth(head)]


def _dearest(row: Row, base: Row) -> str:
    share = row.timer_share.get("owner")
    flagged = " (the profile is flagged)" if row.profile_flags else ""
    inside = "" if share is None else (f"; {percent(share)} of its CPU time is spent in the timer"
                                       f"{flagged}")
    return (f"At {number(row.cell.connections, 0)} connections {row.cell.variant} costs "
            f"{row.cpu_us:.1f} µs of CPU per request, {times(row.cpu_us / base.cpu_us)} "
            f"{base.cell.variant} ({base.cpu_us:.1f} µs){inside}.")


def _near(head: Headline) -> str:
    """Which variants cost next to nothing, by backend."""
    near: dict[str, list[str]] = {}
    for row in head.near:
        near.setdefault(row.cell.backend, []).append(
            f"{row.cell.rearm} {times(row.cpu_us / head.base.cpu_us)}")
    if not near:
        return f"No variant stays within 10 % of {head.base.cell.variant}."
    names = ", ".join(f"{backend} ({', '.join(found)})" for backend, found in near.items())
    return f"Within 10 % of {head.base.cell.variant}: {names}."


def _judgements(head: Headline) -> list[str]:
    """What the statistics say; nothing with a single round."""
    words: dict[str, list[str]] = {}
    for row in head.others:
        if row.comparison and (verdict := verdict_words(row.comparison)):
            words.setdefault(verdict, []).append(row.cell.variant)
    if not words:
        return []
    base = head.base
    if base.rounds < stats.MIN_ROUNDS:
        return [f"{base.rounds} rounds are too few for a verdict; {stats.MIN_ROUNDS} are needed."]
    said = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in words.items())
    return [f"Tested against {base.cell.variant}: {said}."]


def _growth(head: Headline) -> list[str]:
    if len(head.growth) < 2:
        return []
    steps = ", ".join(f"{us:.1f} at {number(connections, 0)}" for connections, us in head.growth)
    return [f"{head.others[-1].cell.variant} in µs per request by connections: {steps}."]


def verdict_words(found: Comparison) -> str:
    """Empty where there are no statistics; says so where more rounds are needed for a verdict."""
    if found.outcome is Outcome.SAME:
        return f"no difference within ±{found.margin:.1%}"
    if found.outcome is Outcome.INCONCLUSIVE and found.n < found.rounds_needed:
        return (f"inconclusive ({found.n} rounds, {found.rounds_needed} needed for a verdict among "
                "so many)")
    return "" if found.outcome is Outcome.UNTESTED else str(found.outcome)


def rps_note(row: Row) -> str:
    """Why requests per second are withheld; empty where they are not."""
    if row.server_bound or row.rps is None:
        return ""
    if row.utilisation is None:
        return "the server was not the bottleneck"
    return f"the server was not the bottleneck (it used {percent(row.utilisation)} of its core)"


def overview(found: list[Row]) -> Table:
    """Backend × connections: CPU per request and its ratio to the column's control."""
    plain = [row for row in found if not row.cell.alias]
    columns = list(dict.fromkeys(row.cell.conditions for row in plain))
    by_place = {(row.cell.variant, row.cell.conditions): row for row in plain}
    table = Table([Text("backend")] + [_column_head(*group) for group in columns],
                  caption="µs of CPU per request")
    for variant in _dearest_first(plain):
        table.rows.append([Text(variant)] + [_overview_cell(by_place.get((variant, group)))
                                             for group in columns])
    return table


def _column_head(scenario: str, timeouts: str, connections: int) -> Text:
    short = SHORT_WORDS.get(scenario, scenario)
    short += ", short timeouts" if timeouts == "short" else ""
    return Text(f"{short}, {number(connections, 0)}", f"{heading(scenario, timeouts)}; "
                f"{connections} connections; µs of CPU per {unit(scenario)}")


def _dearest_first(plain: list[Row]) -> list[str]:
    """Variants by their dearest cell; the control, where there is one, last."""
    dearest: dict[str, float] = {}
    for row in plain:
        name = row.cell.variant
        dearest[name] = max(dearest.get(name, 0.0), row.cpu_us or 0.0)
    return sorted(dearest, key=lambda name: (name.split()[0] == CONTROL, -dearest[name], name))


def _overview_cell(row: Row | None) -> Text:
    if row is None:
        return Text(NOTHING)
    if row.cpu_us is None:
        return Text("failed", "; ".join(row.failures), "invalid")
    found = row.comparison
    text = f"{micros(row.cpu_us)} ({times(found.ratio)})" if found else micros(row.cpu_us)
    notes = [f"ratio to {found.baseline}" if found else "", verdict_words(found) if found else "",
             "; ".join(row.flags)]
    return Text(text + star(row.flags), "; ".join(n for n in notes if n),
                "heat" if row.valid else "heat invalid", heat=_heat(found))


def control_note(found: list[Row]) -> str:
    """What the ratios of the overview are ratios to, on each transport and in each column."""
    ios = list(dict.fromkeys(row.cell.io for row in found if row.comparison))
    if not ios:
        return ""
    said = _baselines(found, ios[0])
    if len(ios) > 1:
        said = "; ".join(f"on {io} {_baselines(found, io)}" for io in ios)
    stars = " A star: a gate failed, see Validity." if any(row.flags for row in found) else ""
    return f"In brackets the ratio {said}.{stars}"


def _baselines(found: list[Row], io: str) -> str:
    columns: dict[str, list[str]] = {}
    for row in found:
        if row.comparison and row.cell.io == io:
            names = columns.setdefault(row.comparison.baseline, [])
            names.append(_column_head(*row.cell.conditions).text)
    usual = max(columns, key=lambda base: len(columns[base]))
    return f"to {usual}" + "".join(f"; to {base} in {', '.join(dict.fromkeys(names))}"
                                   for base, names in columns.items() if base != usual)


def _heat(found: Comparison | None) -> float:
    """0 at no extra cost, 1 at ten times the control."""
    return min(1.0, max(0.0, math.log10(found.ratio))) if found else 0.0


def cost_text(row: Row) -> Text:
    return Text(micros(row.cpu_us) + star(row.flags), "; ".join(row.flags))


def details(alike: list[Row]) -> Table:
    """Every figure of the cells that share scenario, timeouts and connections, dearest first."""
    alike = sorted(alike, key=lambda row: (row.cell.backend == CONTROL, -(row.cpu_us or 0.0)))
    cell = alike[0].cell
    per = unit(cell.scenario)
    bases = dict.fromkeys(row.comparison.baseline for row in alike if row.comparison)
    base = " or ".join(bases)
    columns = (
        ("backend", "", _name),
        (f"CPU µs per {per}", "user + system time of the server process", _cpu),
        (f"ratio to {base}" if base else "ratio",
         "each to that of its own transport" if len(bases) > 1 else "", _ratio),
        ("verdict", "Holm-adjusted over the rows of this table on one transport", _verdict),
        ("req/s", "only where the server was the bottleneck", _rps),
        ("timer share", "owner share of the profile's stacks", _timer_share),
        (f"timer µs per {per}", "owner share × CPU per request", timer_us_text),
        (f"rearms per {per}", "calls, lazy ones included", _operations("rearmed")),
        (f"moved per {per}", "structural moves in the backend", _operations("moved")),
        ("expired", "timers that fired in the window, idle and request", _expired),
        (f"syscalls per {per}", "tracepoint counts, in a window of their own", _syscalls),
        ("p99 ms (wrk, co-corrected)", "wrk rewrites its histogram for coordinated omission", _p99),
        ("late p99 ms", "from deadline to expiry, since the server began", _late),
        ("RSS MiB", "", _rss),
        ("errors", "socket errors that wrk counted, but for the closes that the scenario intends",
         _errors),
        ("flags", "", _flags),
    )
    title = f"{heading(cell.scenario, cell.timeouts)}, {number(cell.connections, 0)} connections"
    table = Table([Text(name, note) for name, note, _ in columns],
                  [[column(row) for _, _, column in columns] for row in alike], title)
    return table.without_empty_columns()


def _name(row: Row) -> Text:
    return Text(row.cell.variant, tone="" if row.valid else "invalid")


def _cpu(row: Row) -> Text:
    values = list(row.cpu_us_by_round.values())
    note = f"rounds: {', '.join(micros(v) for v in values)}" if len(values) > 1 else ""
    return Text(micros(row.cpu_us), note, "strong" if row.valid else "invalid")


def _ratio(row: Row) -> Text:
    found = row.comparison
    if found is None:
        return Text(NOTHING)
    if found.low is None or found.high is None:
        return Text(times(found.ratio), "one round: no interval")
    return Text(f"{times(found.ratio)} [{found.low:.2f}, {found.high:.2f}]",
                f"{found.n} blocks, p = {found.p:.3g}, Holm {found.p_holm:.3g}")


def _verdict(row: Row) -> Text:
    return Text(verdict_words(row.comparison) if row.comparison else "", tone="words")


def _rps(row: Row) -> Text:
    if row.rps is None:
        return Text(NOTHING)
    if row.server_bound:
        return Text(number(row.rps, 0))
    return Text("client-bound", f"withheld: {rps_note(row)}", "muted")


def _timer_share(row: Row) -> Text:
    if not row.timer_share:
        return _nothing_or_failed(row.profile_failures)
    shares = row.timer_share
    return Text(percent(shares["owner"]) + star(row.profile_flags),
                f"self {percent(shares['self'])}, inclusive {percent(shares['inclusive'])}")


def timer_us_text(row: Row) -> Text:
    return Text(micros(row.timer_us) + (star(row.profile_flags) if row.timer_us else ""))


def _operations(which: str):
    def column(row: Row) -> Text:
        note = ", ".join(f"{name} {value:.3f}" for name, value in row.timers_per_request.items())
        value = row.timers_per_request.get(which)
        return Text(NOTHING if value is None else f"{value:.3f}", note)
    return column


def _expired(row: Row) -> Text:
    return Text(number(row.expired, 0) if row.expired else NOTHING)


def _syscalls(row: Row) -> Text:
    note = ", ".join(f"{name} {value:.3f}" for name, value in row.syscalls.items())
    if (total := row.syscalls.get("total")) is None:
        return _nothing_or_failed(row.syscall_failures)
    return Text(f"{total:.2f}{star(row.syscall_flags)}", note)


def _nothing_or_failed(reasons: list[str]) -> Text:
    return Text("failed", "; ".join(reasons), "invalid") if reasons else Text(NOTHING)


def _p99(row: Row) -> Text:
    return Text(number(row.p99_us / 1000, 2) if row.p99_us else NOTHING)


def _late(row: Row) -> Text:
    late = row.late_p99_us if row.expired else None
    return Text(NOTHING if late is None else number(late / 1000, 1))


def _rss(row: Row) -> Text:
    return Text(NOTHING if row.rss_kib is None else number(row.rss_kib / 1024, 1))


def _errors(row: Row) -> Text:
    return Text(number(row.errors, 0) if row.errors else NOTHING)


def _flags(row: Row) -> Text:
    return Text("; ".join(row.flags + left_out_note(row)), tone="invalid" if not row.valid else "")


def left_out_words(unused: int, rounds: int, flags: list[str]) -> list[str]:
    """What is said of rounds that do not count; nothing where all do."""
    return [f"{unused} of {rounds} rounds left out ({', '.join(flags)})"] if unused else []


def left_out_note(row: Row) -> list[str]:
    return left_out_words(row.rounds_left_out, row.rounds, row.flags_left_out)


def shares(findings: Findings) -> Table:
    """The owner ledger: which part of the program the stacks of each profile belong to."""
    groups = _groups(findings.profiles)
    table = Table([Text("profile"), Text("CPU µs/request"), Text("stacks")] +
                  [Text(g, "owner share; hover for self and inclusive") for g in groups] +
                  [Text("broken stacks", "stacks that do not reach the root"),
                   Text("lost"), Text("folded stacks")])
    for p in findings.profiles:
        table.rows.append(
            [Text(findings.label(p), "; ".join(p.flags)),
             Text(micros(p.us_per_request)), Text(number(p.total, 0))] +
            [_share(p, g) for g in groups] +
            [Text(percent(p.unresolved)), Text(number(p.lost, 0)),
             Text("file", href=_href(findings, p)) if p.files else Text(NOTHING)])
    return table.without_empty_columns()


def stars_note(profiles: Iterable[Profile]) -> str:
    """What a star behind a profile's name means; empty where none has one."""
    return ("A star: the profile failed a gate, see Validity."
            if any(p.flags for p in profiles) else "")


def _href(findings: Findings, profile: Profile) -> str:
    """Relative to the page, which lies in the result folder; no link from a comparison page."""
    return "" if findings.name else profile.files[0]


def _share(profile: Profile, group: str) -> Text:
    found = profile.shares.get(group)
    if not found:
        return Text(NOTHING)
    return Text(percent(found["owner"]),
                f"self {percent(found['self'])}, inclusive {percent(found['inclusive'])}, "
                f"{micros(profile.owner_us(group))} µs/{unit(profile.cell.scenario)}")


def _groups(profiles: list[Profile]) -> list[str]:
    known = dict.fromkeys(group for p in profiles for group in p.shares)
    return [g for g in LEDGER if g in known] + [g for g in known if g not in LEDGER]
