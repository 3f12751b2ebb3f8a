"""A table as data, once, and its two faces: HTML for the page, Markdown for the README."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

NOTHING = "–"
# Stands behind a figure that failed a gate.
FLAGGED = " *"
# Keeps a number's groups of digits, and its unit, on one line.
NARROW_SPACE = "\u202f"


@dataclass(frozen=True)
class Text:
    """One table cell. `note` explains on hover; `tone` is a CSS class; `href` makes it a link."""

    text: str
    note: str = ""
    tone: str = ""
    href: str = ""
    heat: float | None = None


@dataclass
class Table:
    """`numeric` columns are right-aligned; the first column heads its row."""

    headers: list[Text]
    rows: list[list[Text]] = field(default_factory=list)
    caption: str = ""

    def html(self) -> str:
        head = "".join(f'<th scope="col"{_title(h)}>{html.escape(h.text)}</th>'
                       for h in self.headers)
        body = "".join(f"<tr>{_row_html(row)}</tr>" for row in self.rows)
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        return (f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>'
                f"<tbody>{body}</tbody></table></div>")

    def markdown(self) -> str:
        ruler = ["---"] + ["---:"] * (len(self.headers) - 1)
        lines = [[h.text for h in self.headers], ruler]
        lines += [[_markdown(cell) for cell in row] for row in self.rows]
        caption = f"**{self.caption}**\n\n" if self.caption else ""
        return caption + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def without_empty_columns(self) -> "Table":
        """A column that no row has a figure for says nothing; it goes."""
        keep = [i for i in range(len(self.headers))
                if i == 0 or any(row[i].text not in (NOTHING, "") for row in self.rows)]
        return Table([self.headers[i] for i in keep],
                     [[row[i] for i in keep] for row in self.rows], self.caption)


def _row_html(row: list[Text]) -> str:
    first, *rest = row
    return f'<th scope="row"{_title(first)}>{_inner(first)}</th>' + "".join(
        f"<td{_title(cell)}{_heat(cell)}>{_inner(cell)}</td>" for cell in rest)


def _title(cell: Text) -> str:
    tone = f' class="{html.escape(cell.tone)}"' if cell.tone else ""
    return tone + (f' title="{html.escape(cell.note)}"' if cell.note else "")


def _heat(cell: Text) -> str:
    return "" if cell.heat is None else f' style="--heat:{cell.heat:.3f}"'


def _inner(cell: Text) -> str:
    text = html.escape(cell.text)
    return f'<a href="{html.escape(cell.href)}">{text}</a>' if cell.href else text


def _markdown(cell: Text) -> str:
    text = cell.text.replace("|", "\\|")
    return f"[{text}]({cell.href})" if cell.href else text


def number(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}".replace(",", NARROW_SPACE)


def micros(value: float | None) -> str:
    """Microseconds with three significant figures or so, small ones included."""
    if value is None:
        return NOTHING
    return number(value, 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1)


def percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{100 * value:.{2 if abs(value) < 0.1 else 1}f}{NARROW_SPACE}%"


def times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}{NARROW_SPACE}×"


def star(flags: list[str]) -> str:
    return FLAGGED if flags else ""
