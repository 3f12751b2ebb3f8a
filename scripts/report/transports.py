"""The server's transports side by side: each cell on io_uring against the same cell on epoll."""

from __future__ import annotations

from dataclasses import replace

from report import analysis, content
from report.analysis import Comparison, Row
from report.tables import NOTHING, Table, Text, star, times
from results.cell import IO_URING, IOS

TITLE = "io_uring against epoll"
NOTE = ("Each cell on io_uring beside the same cell on epoll, measured in the same blocks. The owner "
        "shares say where the difference lies: any two profiles can be laid side by side in the flame "
        "graphs.")


def pairs(found: list[Row], seed: int) -> list[tuple[Row, Row, Comparison]]:
    """Each row on io_uring, the same one on epoll, and the first as a ratio to the second."""
    epoll = {row.cell: row for row in found if row.cpu_us and row.cell.io == IOS[0]}
    both = [(row, epoll.get(replace(row.cell, io=IOS[0])))
            for row in found if row.cpu_us and row.cell.io == IO_URING]
    made = [(ring, base, analysis.paired(ring, base, seed)) for ring, base in both if base]
    margin = analysis.noise_margin(found)
    for conditions in dict.fromkeys(ring.cell.conditions for ring, _, _ in made):
        analysis.judge([ratio for ring, _, ratio in made if ring.cell.conditions == conditions],
                       margin)
    return made


def table(found: list[Row], seed: int) -> Table:
    made = Table([Text("cell"), Text("epoll µs"), Text("io_uring µs"),
                  Text("io_uring / epoll", "µs of CPU per request, paired by round"),
                  Text("verdict", "Holm-adjusted over the same conditions"),
                  Text("syscalls, epoll", "per request"), Text("syscalls, io_uring", "per request")])
    for ring, base, ratio in pairs(found, seed):
        made.rows.append([Text(base.cell.label), content.cost_text(base),
                          content.cost_text(ring), _ratio(ratio),
                          Text(content.verdict_words(ratio), tone="words"),
                          _syscalls(base), _syscalls(ring)])
    return made.without_empty_columns()


def _ratio(found: Comparison) -> Text:
    interval = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return Text(times(found.ratio) + interval)


def _syscalls(row: Row) -> Text:
    total = row.syscalls.get("total")
    return Text(NOTHING if total is None else f"{total:.2f}{star(row.syscall_flags)}")


def opening(found: list[Row]) -> list[str]:
    """The page's first sentences; the last is about the transports, where there are two."""
    return [*content.opening(found), *_sentence(pairs(found, seed=0))]


def _sentence(both: list[tuple[Row, Row, Comparison]]) -> list[str]:
    if not both:
        return []
    ordered = sorted(both, key=lambda each: each[2].ratio)
    ends = [f"{times(ratio.ratio)} ({base.cell.label})" for _, base, ratio in ordered]
    span = ends[0] if len(ends) == 1 else f"from {ends[0]} to {ends[-1]}"
    return [f"CPU per request on io_uring, as a ratio to the same cell on epoll: {span}."]
