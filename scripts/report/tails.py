"""The curves of timer-bench's tails: one page, a panel for each operation and number of timers."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from report.build import write
from report.charts import colour
from report.page import Section, assemble
from report.svg import apart, grid_line, svg
from report.tables import number
from results.errors import Unreadable

# Figures of a benchmark, from left to right, and what stands below them.
QUANTILES = {"p50_ns": "50 %", "p90_ns": "90 %", "p99_ns": "99 %", "p99.9_ns": "99.9 %",
             "worst_ns": "worst"}
# What the machine added to a spin as long as each sample, at the same places.
MACHINE = {"machine_p99.9_ns": "p99.9_ns", "machine_worst_ns": "worst_ns"}
# Rows of timer-bench that no report of the study has.
PEERS = {"floor": "#868e96", "libuv": "#5f3dc4", "libev": "#087f5b", "libevent": "#862e9c",
         "libevent-common": "#364fc7", "asio": "#7048e8"}


@dataclass
class Tail:
    """A benchmark. `points` are a figure's nanoseconds; what had too few samples is absent."""

    subject: str
    operation: str
    timers: int
    label: str  # what a sample is
    points: dict[str, float]
    machine: dict[str, float]
    fastest: tuple[int, float]  # passes, and the time of one less than zero: the larger counts


def page(source: Path, out: Path) -> Path:
    """Writes the page for what timer-bench --benchmark_out=SOURCE has left. Returns its path.

    Raises Unreadable for a file that is not such, or that has no tails in it.
    """
    found = read(source)
    operations = list(dict.fromkeys(tail.operation for tail in found))
    sections = [Section(name.removeprefix("tail-").replace("-", "_"), name,
                        _panels([tail for tail in found if tail.operation == name]))
                for name in operations]
    head = ("<h1>idlewheel: tails of timer operations</h1>"
            '<p class="run">Each line goes through quantiles of the time of a sample. A dashed line '
            "says by how much the machine made a spin longer that should have been as long as each "
            "sample: what lies near it says nothing about the structure. bench/README.md has more."
            "</p>")
    return write(out, assemble("idlewheel: tails", head, sections, None))


def read(source: Path) -> list[Tail]:
    """The benchmarks of tails in their order; of repetitions the one that the table shows."""
    try:
        entries = json.loads(source.read_text(encoding="utf-8"))["benchmarks"]
        tails = [_tail(entry) for entry in entries if _has_tail(entry)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{source} is no JSON of timer-bench: {error}") from None
    if not tails:
        raise Unreadable(f"{source} has no tails: let --benchmark_filter include /tail-")
    best: dict[tuple[str, str, int], Tail] = {}
    for tail in tails:
        key = (tail.operation, tail.subject, tail.timers)
        if key not in best or tail.fastest > best[key].fastest:
            best[key] = tail
    return list(best.values())


def _has_tail(entry: dict) -> bool:
    return (entry.get("run_type", "iteration") == "iteration" and "worst_ns" in entry
            and not entry.get("error_occurred"))


def _tail(entry: dict) -> Tail:
    subject, operation, timers = re.match(r"([^/]+)/([^/]+)/(\d+)", entry["name"]).groups()

    def figures(names) -> dict[str, float]:
        return {name: float(entry[name]) for name in names
                if name in entry and not math.isnan(float(entry[name]))}

    return Tail(subject, operation, int(timers), entry.get("label", ""), figures(QUANTILES),
                {MACHINE[name]: ns for name, ns in figures(MACHINE).items()},
                (entry["iterations"], -entry["real_time"]))


def _panels(tails: list[Tail]) -> str:
    sizes = sorted({tail.timers for tail in tails})
    panels = [_panel([tail for tail in tails if tail.timers == n]) for n in sizes]
    return (f'<p class="note">{html.escape(tails[0].label.capitalize())}.</p>'
            f'<div class="panels">{"".join(panels)}</div>')


def _panel(tails: list[Tail]) -> str:
    width, left, right, top, bottom = 620, 64, 150, 30, 30
    height = max(330, top + bottom + 15 * (len(tails) + 1))
    values = [max(1.0, ns) for tail in tails for ns in tail.points.values()]
    low = 10 ** math.floor(math.log10(min(values)))
    high = max(low * 10, 10 ** math.ceil(math.log10(max(values))))
    step = (width - left - right) / (len(QUANTILES) - 1)

    def x(name: str) -> float:
        return left + step * list(QUANTILES).index(name)

    def y(ns: float) -> float:
        share = math.log(min(max(ns, low), high) / low) / math.log(high / low)
        return height - bottom - (height - top - bottom) * share

    title = f"{tails[0].operation}, {number(tails[0].timers, 0)} timers"
    parts = [f'<text class="title" x="{left}" y="18">{html.escape(title)}</text>']
    parts += [grid_line(left, width - right, y(ns), duration(ns)) for ns in _decades(low, high)]
    parts += [f'<text class="axis" x="{x(name):.1f}" y="{height - 10}" text-anchor="middle">{text}'
              "</text>" for name, text in QUANTILES.items()]
    parts += [_line(tail, x, y) for tail in tails]
    parts += _names(tails, width - right + 8, top, height - bottom, y)
    return svg(width, height, title, parts)


def _line(tail: Tail, x, y) -> str:
    paint = PEERS.get(tail.subject) or colour(tail.subject)

    def through(points: dict[str, float], dash: str) -> str:
        places = " ".join(f"{x(name):.1f},{y(ns):.1f}" for name, ns in points.items())
        return (f'<polyline points="{places}" fill="none" stroke="{paint}" '
                f'stroke-width="{1 if dash else 1.8}"{dash}/>')

    dots = "".join(f'<circle cx="{x(name):.1f}" cy="{y(ns):.1f}" r="3.2" fill="{paint}"><title>'
                   f"{html.escape(tail.subject)}, {QUANTILES[name]}: {duration(ns)}</title></circle>"
                   for name, ns in tail.points.items())
    dashed = through(tail.machine, ' stroke-dasharray="2 4"') if len(tail.machine) > 1 else ""
    return through(tail.points, "") + dashed + dots


def _names(tails: list[Tail], left: float, top: float, bottom: float, y) -> list[str]:
    wanted = sorted((y(tail.points["worst_ns"]), tail.subject) for tail in tails)
    places = apart([place for place, _ in wanted], 15, top, bottom)
    return [f'<text x="{left}" y="{place + 4:.1f}" fill="{PEERS.get(name) or colour(name)}">'
            f"{html.escape(name)}</text>" for place, (_, name) in zip(places, wanted)]


def _decades(low: float, high: float) -> list[float]:
    return [10.0 ** power for power in
            range(round(math.log10(low)), round(math.log10(high)) + 1)]


def duration(ns: float) -> str:
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / divisor:.3g} {unit}"
    return f"{ns / 1e9:.3g} s"
