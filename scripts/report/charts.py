"""The charts, as SVG text. Colours are CSS variables of report.css, so that dark mode works."""

from __future__ import annotations

import html
import math

from report.analysis import Row
from report.content import LEDGER, unit
from report.profiles import Profile
from report.svg import apart, grid_line, svg
from report.tables import micros, number
from results.cell import CONTROL, IOS

# A backend keeps its colour in every chart of every report.
COLOURS = {
    "ordered-list": "#e8590c", "unordered-list": "#d6336c", "binary-heap": "#1c7ed6",
    "hierarchical-wheel": "#2f9e44", "asio": "#7048e8", "none": "#868e96",
    "ordered-list-rear": "#f08c00", "quad-heap": "#0c8599", "rb-tree": "#9c36b5",
    "quick-heap": "#5c940d",
    "simple-wheel": "#66a80f", "hashed-wheel-sorted": "#a9762b", "hashed-wheel": "#099268",
    "duration-lists": "#4263eb", "min-array": "#c92a2a",
}


def colour(backend: str) -> str:
    return COLOURS.get(backend, "#868e96")


def by_connections(found: list[Row]) -> str:
    """CPU per request against connections, a panel a re-arm mode and transport; rounds are dots."""
    rows = [r for r in found if r.cell.conditions[:2] == ("respond", "default") and r.cpu_us
            and not r.cell.alias]
    modes = [(m, io) for io in IOS for m in ("eager", "lazy")
             if any((r.cell.rearm, r.cell.io) == (m, io) and r.cell.backend != CONTROL
                    for r in rows)]
    if len({r.cell.connections for r in rows}) < 2:
        return ""
    values = [v for r in rows for v in r.cpu_us_by_round.values()]
    panels = [_panel(f"{mode} re-arm" + (f", {io}" if io != IOS[0] else ""),
                     [r for r in rows if r.cell.io == io
                      and (r.cell.rearm == mode or r.cell.backend == CONTROL)],
                     sorted({r.cell.connections for r in rows}), min(values), max(values))
              for mode, io in modes]
    return f'<div class="panels">{"".join(panels)}</div>'


def _panel(title: str, rows: list[Row], levels: list[int], low: float, high: float) -> str:
    width, height, left, right, top, bottom = 560, 270, 42, 140, 30, 38
    low, high = low * 0.85, high * 1.15
    span = math.log(levels[-1] / levels[0])

    def x(level: int) -> float:
        return left + 14 + (width - left - right - 28) * math.log(level / levels[0]) / span

    def y(us: float) -> float:
        return height - bottom - (height - top - bottom) * math.log(us / low) / math.log(high / low)

    parts = [f'<text class="title" x="{left}" y="18">{title}</text>']
    parts += [grid_line(left, width - right, y(tick), f"{tick:g}") for tick in _ticks(low, high)]
    parts += [f'<text class="axis" x="{x(level):.1f}" y="{height - bottom + 18}" '
              f'text-anchor="middle">{number(level, 0)}</text>' for level in levels]
    parts.append(f'<text class="axis" x="{left}" y="{height - 6}">connections (log) · '
                 "µs of CPU per request (log)</text>")
    lines = _lines(rows)
    parts += [_series(backend, line, x, y) for backend, line in lines.items()]
    parts += _end_labels(lines, width - right + 6, top, height - bottom, y)
    return svg(width, height, f"CPU per request by connections, {title}", parts)


def _lines(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda r: r.cell.connections):
        found.setdefault(row.cell.backend, []).append(row)
    return found


def _series(backend: str, line: list[Row], x, y) -> str:
    points = " ".join(f"{x(r.cell.connections):.1f},{y(r.cpu_us):.1f}" for r in line)
    dash = ' stroke-dasharray="5 4"' if backend == "none" else ""
    dots = "".join(
        f'<circle cx="{x(r.cell.connections):.1f}" cy="{y(us):.1f}" r="3.2" '
        f'fill="{colour(backend)}">'
        f"<title>{html.escape(r.cell.label)}: {micros(us)} µs, round {n}</title></circle>"
        for r in line for n, us in r.cpu_us_by_round.items())
    return (f'<polyline points="{points}" fill="none" stroke="{colour(backend)}" '
            f'stroke-width="1.8"{dash}/>{dots}')


def _end_labels(lines: dict[str, list[Row]], x: float, top: float, bottom: float, y) -> list[str]:
    """A name at the end of each line, moved apart where they would overlap."""
    wanted = sorted((y(line[-1].cpu_us), backend) for backend, line in lines.items())
    places = apart([place for place, _ in wanted], 15, top, bottom)
    return [f'<text x="{x}" y="{place + 4:.1f}" fill="{colour(backend)}">{backend}</text>'
            for place, (_, backend) in zip(places, wanted)]


def _ticks(low: float, high: float) -> list[float]:
    steps = [m * 10 ** e for e in range(-3, 6) for m in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def strip(alike: list[Row]) -> str:
    """A line per cell, cheapest at the top: a dot per round, and the median."""
    rows = sorted((r for r in alike if r.cpu_us), key=lambda r: r.cpu_us)
    if len(rows) < 2:
        return ""
    width, left, right, step, top = 1100, 240, 90, 20, 26
    height = top + step * len(rows) + 30
    most = max(v for r in rows for v in r.cpu_us_by_round.values())

    def x(us: float) -> float:
        return left + (width - left - right) * us / most

    parts = [f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 6}" '
             f'y2="{height - 24}"/><text class="axis" x="{x(tick):.1f}" y="{height - 8}" '
             f'text-anchor="middle">{tick:g}</text>' for tick in _even_ticks(most)]
    for index, row in enumerate(rows):
        parts.append(_strip_line(row, top + step * index + 10, x, left))
    cell = rows[0].cell
    return svg(width, height, f"µs of CPU per {unit(cell.scenario)}", parts)


def _strip_line(row: Row, y: float, x, left: float) -> str:
    paint, most = colour(row.cell.backend), max(row.cpu_us_by_round.values())
    dots = "".join(f'<circle cx="{x(us):.1f}" cy="{y:.1f}" r="3.6" fill="{paint}" opacity=".75">'
                   f"<title>round {n}: {micros(us)} µs</title></circle>"
                   for n, us in row.cpu_us_by_round.items())
    return (f'<text x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">'
            f"{html.escape(row.cell.variant)}</text>"
            f'<line x1="{left}" x2="{x(row.cpu_us):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{paint}" stroke-width="2" opacity=".35"/>{dots}'
            f'<text class="axis" x="{x(most) + 9:.1f}" y="{y + 4:.1f}">'
            f"{micros(row.cpu_us)}</text>")


def _even_ticks(most: float) -> list[float]:
    step = 10 ** math.floor(math.log10(most))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if most / s <= 6.5)
    return [round(step * i, 6) for i in range(int(most / step) + 1)]


def ledger(known: list[tuple[str, Profile]]) -> str:
    """Where the CPU time of a request goes: a bar per profile, a part per owner group."""
    width, left, right, step, top = 1200, 400, 70, 24, 12
    height = top + step * len(known) + 34
    most = max(p.us_per_request for _, p in known)
    scale = (width - left - right) / most
    parts = [f'<line class="grid" x1="{left + tick * scale:.1f}" x2="{left + tick * scale:.1f}" '
             f'y1="{top - 4}" y2="{height - 26}"/><text class="axis" '
             f'x="{left + tick * scale:.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>'
             for tick in _even_ticks(most)]
    for index, (label, profile) in enumerate(known):
        parts.append(_bar(label, profile, left, top + step * index, scale))
    return _legend(known) + svg(width, height, "Owner ledger, µs of CPU per request", parts)


def _bar(label: str, profile: Profile, left: float, y: float, scale: float) -> str:
    parts = [f'<text x="{left - 10}" y="{y + 13}" text-anchor="end">{html.escape(label)}</text>']
    at = float(left)
    for group in sorted(profile.shares, key=_ledger_place):
        us = profile.owner_us(group)
        if us * scale >= 0.05:
            parts.append(f'<rect x="{at:.2f}" y="{y}" width="{us * scale:.2f}" height="17" '
                         f'class="g-{_slug(group)}"><title>{html.escape(label)}: {group} '
                         f"{micros(us)} µs</title></rect>")
        at += us * scale
    parts.append(f'<text class="axis" x="{at + 6:.1f}" y="{y + 13}">'
                 f"{micros(profile.us_per_request)}</text>")
    return "".join(parts)


def _ledger_place(group: str) -> int:
    return LEDGER.index(group) if group in LEDGER else len(LEDGER)


def _legend(known: list[tuple[str, Profile]]) -> str:
    groups = sorted({g for _, p in known for g in p.shares}, key=_ledger_place)
    return '<p class="legend">' + "".join(
        f'<span><i class="g-{_slug(g)}"></i>{html.escape(g)}</span>' for g in groups) + "</p>"


def _slug(group: str) -> str:
    return group.replace(" ", "-")
