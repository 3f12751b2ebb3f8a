"""What all charts are made of. Colours are CSS variables of report.css, so that dark mode works."""

from __future__ import annotations

import html


def apart(places: list[float], gap: float, top: float, bottom: float) -> list[float]:
    """Ascending places of labels, moved so that they lie `gap` apart, between the two limits."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap if moved else top))
    overflow = max(0.0, moved[-1] - bottom) if moved else 0.0
    for i in range(len(moved) - 1, -1, -1):
        limit = bottom if i == len(moved) - 1 else moved[i + 1] - gap
        moved[i] = min(moved[i], limit) if overflow else moved[i]
    return moved


def grid_line(left: float, right: float, y: float, label: str) -> str:
    return (f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="axis" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    return (f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{html.escape(title)}" style="max-width:{width}px">{"".join(parts)}</svg>')
