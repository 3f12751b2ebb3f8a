"""Two result folders side by side: one page with both, and a table of every cell they share."""

from __future__ import annotations

import html
from pathlib import Path

from report import analysis, build, content, page, summary
from report.analysis import Pair
from report.content import Findings
from report.embed import flame_data
from report.page import Section
from report.profiles import Tree
from report.tables import NOTHING, Table, Text, times
from results import machine
from results.errors import BAD_USAGE, Stop
from results.stats import Outcome

# What of the plan changes the figures of a cell, or how sure they are.
SETTINGS = ("preset", "window_s", "settle_s", "rounds", "slow_rounds", "wrk_threads",
            "wrk_duration_s", "profile_rounds", "profile_window_s")


class Refused(Stop):
    """The two folders must not be compared; the message says what differs."""

    def __init__(self, message: str) -> None:
        super().__init__(message, BAD_USAGE)


def compare(a: Path, b: Path, out: Path | None = None, force: bool = False) -> Path:
    """Prints the table of shared cells, writes the page and returns its path.

    `out` is the page's name, or a folder for it; without one it lies in the second folder.
    """
    tree = Tree()
    folders = [build.analyse(name, Path(folder), tree) for name, folder in (("A", a), ("B", b))]
    _give_titles(*folders)
    differing = machine.differences(*(f.run.manifest.get("env") or {} for f in folders),
                                    machine.COMPARED)
    if differing and not force:
        raise Refused(f"the environments differ: {'; '.join(differing)}")
    tree = build.pruned(tree, folders)
    pairs = analysis.shared(*(folder.rows for folder in folders))
    table, notes = shared_cells(pairs), _notes(pairs, folders, differing)
    print(table.markdown() if table.rows else "The two folders share no timing cell.")
    print("".join(f"{note}\n" for note in notes), end="")
    return build.write(_place(Path(a), Path(b), out), _page(tree, folders, table, notes))


def _notes(pairs: list[Pair], folders: list[Findings], differing: list[str]) -> list[str]:
    """What a reader of the figures has to know."""
    a, b = (folder.run.manifest for folder in folders)
    plans = [manifest.get("plan") or {} for manifest in (a, b)]
    settings = machine.differences(*plans, SETTINGS)
    unfinished = [name for name, there in (("A", a), ("B", b)) if not there.get("finished", True)]
    notes = [
        f"Compared although the environments differ: {'; '.join(differing)}." if differing else "",
        f"Measured with other settings: {'; '.join(settings)}." if settings else "",
        f"Not finished: {' and '.join(unfinished)}." if unfinished else "",
        shared_flags(pairs)]
    return [note for note in notes if note]


def _give_titles(a: Findings, b: Findings) -> None:
    """The folders' own names say more than A and B, unless they are the same."""
    names = [folder.run.folder.resolve().name for folder in (a, b)]
    a.title, b.title = names if names[0] != names[1] else ("A", "B")


def _place(a: Path, b: Path, out: Path | None) -> Path:
    name = f"compare-{a.resolve().name}.html"
    if out is None:
        return b / name
    out = Path(out)
    if out.suffix == ".html":
        out.parent.mkdir(parents=True, exist_ok=True)
        return out
    out.mkdir(parents=True, exist_ok=True)
    return out / name


def _page(tree: Tree, folders: list[Findings], table: Table, notes: list[str]) -> str:
    sections = [Section("shared", "Cells in both folders", table.html() if table.rows else
                        "<p>The two folders share no timing cell.</p>"),
                *page.flame_section(folders), *page.ledger_section(folders)]
    for folder in folders:
        sections += [*page.cost_section(folder), *page.transport_section(folder),
                     *page.details_section(folder)]
    sections += [*page.ticks_section(tree, folders), page.validity_section(folders)]
    data = None
    if any(folder.profiles for folder in folders):
        data = flame_data(tree, folders, _start(folders))
        sections.append(page.licence_section())
    return page.assemble("idlewheel: two runs compared", _head(folders, notes), sections, data)


def _start(folders: list[Findings]) -> tuple[str, str]:
    """The cell with the dearest timers that both have; else the first of each, or of one alone."""
    a, b = ({p.cell: p for p in folder.profiles} for folder in folders)
    both = max((p for cell, p in a.items() if cell in b), default=None,
               key=lambda p: p.owner_us("timer"))
    if both:
        return folders[0].key(both), folders[1].key(b[both.cell])
    keys = [folder.key(p) for folder in folders for p in folder.profiles[:1]]
    return keys[0], keys[-1]


def _head(folders: list[Findings], notes: list[str]) -> str:
    lines = "".join(f'<p class="run"><b>{folder.name}</b> {html.escape(folder.run.folder.name)}: '
                    f"{html.escape(summary.about(folder.run.manifest))}</p>" for folder in folders)
    warnings = "".join(f'<p class="warning">{html.escape(note)}</p>' for note in notes)
    return f"<h1>idlewheel: two runs compared</h1>{lines}{warnings}"


def shared_cells(pairs: list[Pair]) -> Table:
    """CPU per request of each cell in two folders, B as a ratio to A."""
    table = Table([Text("cell"), Text("A µs"), Text("B µs"), Text("B / A"),
                   Text("p (Holm)", "Mann-Whitney, exact"), Text("verdict"),
                   Text("A timer µs"), Text("B timer µs")])
    for pair in pairs:
        costs, timers = ([show(row) for row in (pair.a, pair.b)]
                         for show in (content.cost_text, content.timer_us_text))
        p_holm = Text(NOTHING if pair.p_holm is None else f"{pair.p_holm:.3g}")
        table.rows.append([Text(pair.a.cell.label), *costs, Text(times(pair.ratio)), p_holm,
                           Text(_change(pair)), *timers])
    return table.without_empty_columns()


def shared_flags(pairs: list[Pair]) -> str:
    """What the stars of shared_cells() stand for; empty where there is none."""
    flags = {name: sorted({flag for row in rows for flag in (*row.flags, *row.profile_flags)})
             for name, rows in (("A", [p.a for p in pairs]), ("B", [p.b for p in pairs]))}
    said = "; ".join(f"{', '.join(found)} in {name}" for name, found in flags.items() if found)
    return f"A star: a gate failed ({said})." if said else ""


def _change(pair: Pair) -> str:
    if pair.outcome is Outcome.UNTESTED:
        return f"no statistics (fewer than {analysis.ROUNDS_FOR_MANN_WHITNEY} rounds)"
    return "no difference proven" if pair.outcome is Outcome.INCONCLUSIVE else str(pair.outcome)
