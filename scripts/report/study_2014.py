"""The figures of the 2014 study and of the original Node.js binaries, and tables of them and ours.

Sources: joyent/node issue 8160 and its wiki page "Optimizing _unrefActive" (shares of ticks in the
timer function, self), and the binaries of those releases run on one two-core machine (CPU per
request and shares at three levels). They are other programs on other machines: the ratios within
one column are what may be set beside ours, never the absolute figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from report.analysis import Row
from report.profiles import Profile
from report.tables import NOTHING, Table, Text, micros, number, percent, star
from results.cell import IOS

LEVELS = (400, 5000, 10000)


@dataclass(frozen=True)
class Past:
    """One implementation of the study and the backend here that stands for it."""

    backend: str
    name: str
    share_2014: str
    node: str | None
    node_cpu_us: tuple[float | None, ...]
    node_share: tuple[float | None, ...]


IMPLEMENTATIONS = (
    Past("ordered-list", "ordered list", "34.4 % self, 48.5 % with its comparison stub",
         "Node 0.11.14", (32.6, 149.0, None), (0.144, 0.533, 0.632)),
    Past("unordered-list", "unordered list", "2.6 % self", "Node 0.12.18", (29.0, 47.8, 43.7),
         (None, None, None)),
    Past("binary-heap", "binary heap", "4.4 % self (6.3 % at 10 000 on macOS)", None,
         (None, None, None), (None, None, None)),
    Past("hierarchical-wheel", "timer wheel", "named, never measured", None, (None, None, None),
         (None, None, None)),
)

# Scenario S2, unordered list, 5000 connections: every request times out.
EXPIRY_2014 = ("4.1 % + 3.1 % of ticks in the expiry pass of the unordered list, 76.9 % in system "
               "calls")


def shares(profiles: list[Profile]) -> Table:
    """Share of ticks in the timer: the study's, the original binaries', ours (eager, epoll)."""
    mine = {(p.cell.backend, p.cell.connections): p for p in profiles
            if p.cell.conditions[:2] == ("respond", "default") and p.cell.rearm == "eager"
            and p.cell.io == IOS[0] and "timer" in p.shares}
    levels = sorted({level for _, level in mine})
    table = Table([Text("implementation"), Text("2014 study, 400 connections", tone="prose")] +
                  [Text(f"original binary, {number(level, 0)}") for level in LEVELS] +
                  [Text(f"here, {number(level, 0)}", "self / inclusive / owner")
                   for level in levels])
    for past in IMPLEMENTATIONS:
        table.rows.append(
            [Text(past.name, f"here: {past.backend}, eager"), Text(past.share_2014, tone="prose")] +
            [Text(percent(share), past.node or "") for share in past.node_share] +
            [_three(mine.get((past.backend, level))) for level in levels])
    return table.without_empty_columns()


def _three(profile: Profile | None) -> Text:
    if not profile:
        return Text(NOTHING)
    found = profile.shares["timer"]
    three = " / ".join(percent(found[kind]) for kind in ("self", "inclusive", "owner"))
    return Text(three + star(profile.flags), "; ".join(profile.flags))


def cpu(found: list[Row]) -> Table:
    """CPU per request by connections, each also as a multiple of the lowest level's."""
    mine = {(row.cell.backend, row.cell.connections): row.cpu_us for row in found
            if row.cell.conditions[:2] == ("respond", "default") and row.cell.rearm == "eager"
            and row.cell.io == IOS[0] and not row.cell.alias}
    levels = sorted({level for _, level in mine})
    table = Table([Text("implementation")] +
                  [Text(f"original binary, {number(level, 0)}") for level in LEVELS] +
                  [Text(f"here, {number(level, 0)}") for level in levels])
    for past in IMPLEMENTATIONS:
        ours = [mine.get((past.backend, level)) for level in levels]
        name = f"{past.name} ({past.node})" if past.node else past.name
        table.rows.append([Text(name)] + _with_growth(past.node_cpu_us) + _with_growth(ours))
    return table.without_empty_columns()


def _with_growth(values) -> list[Text]:
    first = next((v for v in values if v), None)
    return [Text(NOTHING if v is None else micros(v) if v == first
                 else f"{micros(v)} ({v / first:.1f} ×)") for v in values]
