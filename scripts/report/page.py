"""Puts one page together: the sections, the viewer, its data and the licences, in one file."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from report import charts, content, embed, study_2014, transports, validity
from report.analysis import by_conditions, noise_margin, seed_of
from report.content import Findings
from report.profiles import PRUNE_SHARE, Profile, Ticks, Tree, bottom_up
from report.run import Run
from report.tables import Table, number, percent
from results.errors import CANNOT, Stop

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
# The renderer bundles d3 without handing out its `select`, by which it wants to be called.
LIBRARIES = ("d3-selection/dist/d3-selection.min.js", "d3-flame-graph/dist/d3-flamegraph.min.js")


class MissingTool(Stop):
    """What the page embeds is not installed; the message says how to install it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, CANNOT)


@dataclass
class Section:
    anchor: str
    title: str
    body: str


def library(file: str) -> str:
    try:
        return (MODULES / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingTool("the flame-graph renderer (npm package d3-flame-graph) is not installed; "
                          "run scripts/setup") from None


def licences() -> str:
    """The licence of the renderer and those of the d3 modules bundled in it."""
    files = sorted(path.relative_to(MODULES) for path in MODULES.glob("*/LICENSE"))
    return "\n\n".join(f"{file.parent}\n\n{library(str(file))}" for file in files)


def assemble(title: str, head: str, sections: list[Section], data: dict | None) -> str:
    """Fills template.html. The renderer goes in only where there is a graph to draw."""
    body = [f'<section id="{s.anchor}"><h2>{html.escape(s.title)}</h2>{s.body}</section>'
            for s in sections]
    parts = {"TITLE": html.escape(title), "HEAD": head, "BODY": "\n".join(body),
             "NAV": "".join(f'<a href="#{s.anchor}">{_short(s.anchor)}</a>' for s in sections),
             "STYLE": (HERE / "report.css").read_text(encoding="utf-8"),
             "SCRIPTS": _scripts(data) if data else ""}
    template = (HERE / "template.html").read_text(encoding="utf-8")
    return re.sub(r"<!--(\w+)-->", lambda match: parts[match[1]], template)


def _short(anchor: str) -> str:
    return anchor.replace("-", " of ")


def _scripts(data: dict) -> str:
    code = [library(file) for file in LIBRARIES]
    code += [(HERE / name).read_text(encoding="utf-8") for name in ("flame.js", "report.js")]
    return (f'<script type="application/json" id="flame-data">{embed.as_json(data)}</script>\n' +
            "\n".join(f"<script>\n{text}</script>" for text in code))


def cost_section(findings: Findings) -> list[Section]:
    """The verdict table, backend × connections, and with it how the cost grows."""
    if not findings.rows:
        return []
    table, lines = content.overview(findings.rows).html(), charts.by_connections(findings.rows)
    note = (f"{content.ABOUT_SCENARIOS} {content.control_note(findings.rows)} Darker is dearer. "
            "Requests per second appear below, only where the server was the bottleneck: CPU time "
            "per request holds either way. In the charts each dot is a round.")
    return [Section(f"cost{_anchor(findings)}", f"CPU per request{_of(findings)}",
                    f'{table}{lines}<p class="note">{html.escape(note)}</p>')]


def transport_section(findings: Findings) -> list[Section]:
    """Only where both transports were measured."""
    table = transports.table(findings.rows, seed_of(findings.run))
    if not table.rows:
        return []
    return [Section(f"transports{_anchor(findings)}", f"{transports.TITLE}{_of(findings)}",
                    f'{table.html()}<p class="note">{html.escape(transports.NOTE)}</p>')]


def details_section(findings: Findings) -> list[Section]:
    if not findings.rows:
        return []
    return [Section(f"details{_anchor(findings)}", f"All figures by level{_of(findings)}",
                    _details(findings))]


def _of(findings: Findings) -> str:
    return f" of {findings.name}" if findings.name else ""


def _anchor(findings: Findings) -> str:
    return f"-{findings.name}" if findings.name else ""


def _details(findings: Findings) -> str:
    parts = []
    for key, alike in by_conditions(findings.rows).items():
        table = content.details(alike)
        caption, table.caption = table.caption, ""
        opened = " open" if key[:2] == ("respond", "default") else ""
        parts.append(f"<details{opened}><summary>{html.escape(caption)}</summary>{table.html()}"
                     f"{charts.strip(alike)}</details>")
    return "".join(parts)


def ledger_section(folders: list[Findings]) -> list[Section]:
    """A chart a scenario, each with its own scale: an expired request costs many answered ones."""
    kinds: dict[tuple[str, str], list[tuple[str, Profile]]] = {}
    for folder in folders:
        for p in folder.profiles:
            if p.shares:
                kinds.setdefault(p.cell.conditions[:2], []).append((folder.label(p), p))
    bars = "".join(f"<h3>{html.escape(content.heading(*kind))} (µs of CPU per "
                   f"{content.unit(kind[0])})</h3>{charts.ledger(known)}"
                   for kind, known in kinds.items())
    title = "Where a request's CPU time goes"
    return [Section("ledger", title, bars + _shares(folders))] if bars else []


def _shares(folders: list[Findings]) -> str:
    tables = "".join(content.shares(folder).html() for folder in folders if folder.profiles)
    return ("<details><summary>Shares by owner group, counts, folded stacks</summary>"
            '<p class="note">Owner share: a stack counts for the group of the innermost frame '
            "whose group is known, so a row sums to 100 %. Self and inclusive shares appear on hover. "
            "Broken stacks, whose outer end was lost, are the uncertainty of the inclusive shares.</p>"
            f"{tables}</details>")


def flame_section(folders: list[Findings]) -> list[Section]:
    if not any(folder.profiles for folder in folders):
        return []
    note = ('<p class="note">Widths are CPU time per request, so a frame that costs the same in A '
            f"and B stays grey whatever the totals did. Stacks below {PRUNE_SHARE:.2%} in every "
            "profile are counted in their caller; the folded files are complete. "
            f"{content.stars_note(p for folder in folders for p in folder.profiles)}</p>")
    viewer = (HERE / "viewer.html").read_text(encoding="utf-8")
    return [Section("flame", "Flame graphs: any two compared", viewer + note)]


def ticks_section(tree: Tree, folders: list[Findings]) -> list[Section]:
    known = [(folder, p) for folder in folders for p in folder.profiles]
    if not known:
        return []
    first = next((folder.key(p) for folder, p in known if p.cell.backend == "ordered-list" and
                  p.cell.rearm == "eager"), known[0][0].key(known[0][1]))
    options = "".join(f'<option value="{html.escape(folder.key(p))}"'
                      f'{" selected" if folder.key(p) == first else ""}>'
                      f"{html.escape(folder.label(p))}</option>" for folder, p in known)
    blocks = "".join(_ticks_block(tree, folder, p, folder.key(p) != first) for folder, p in known)
    return [Section("ticks", "The study's own table: ticks, parent, name",
                    '<p class="note">Bottom-up: a function with its self ticks as a share of all '
                    "ticks, kernel included; under it its callers, as shares of its ticks. Callers "
                    "below 2 % are left out.</p>"
                    f'<p><label>Profile <select id="ticks-of">{options}</select></label></p>'
                    f"{blocks}")]


def _ticks_block(tree: Tree, folder: Findings, profile: Profile, hidden: bool) -> str:
    lines = "".join(_tick_line(line, 0) for line in bottom_up(tree, profile)[:25])
    return (f'<div class="scroll ticks" data-profile="{html.escape(folder.key(profile))}"'
            f'{" hidden" if hidden else ""}><table><thead><tr><th>ticks</th><th>parent</th>'
            f"<th>name</th></tr></thead><tbody>{lines}</tbody></table></div>")


def _tick_line(line: Ticks, depth: int) -> str:
    tone = ' class="top"' if depth == 0 else ""
    own = (f'<tr{tone}><td>{number(line.ticks, 0)}</td><td>{percent(line.share)}</td>'
           f'<td style="padding-left:{0.6 + 1.4 * depth:.1f}em">{html.escape(line.name)}</td></tr>')
    return own + "".join(_tick_line(caller, depth + 1) for caller in line.callers)


def study_section(findings: Findings) -> list[Section]:
    """Only where this run has something to put beside the study's figures."""
    shares, costs = study_2014.shares(findings.profiles), study_2014.cpu(findings.rows)
    parts = [f"<h3>{title}</h3>{table.html()}" for title, table in (
        ("Share of ticks in the timer", shares),
        ("CPU per request (µs), and its growth over the lowest level", costs))
        if any(head.text.startswith("here") for head in table.headers)]
    if not parts:
        return []
    parts.append('<p class="note">The study gave self shares at 400 connections, with helper stubs '
                 "listed separately; here each cell reads self / inclusive / owner, eager re-arm. In "
                 "its second scenario, at 5000 connections, it saw "
                 f"{html.escape(study_2014.EXPIRY_2014)}. The original binaries ran on another "
                 "machine: compare shares and growth, not microseconds.</p>")
    return [Section("study", "Beside the 2014 study", "".join(parts))]


def validity_section(folders: list[Findings]) -> Section:
    return Section("validity", "Validity", "".join(_validity(folder) for folder in folders))


def _validity(findings: Findings) -> str:
    manifest, rows = findings.run.manifest, findings.rows
    same = validity.same_against_same(rows, seed_of(findings.run))
    parts = [f"<h3>{html.escape(findings.title)}</h3>"] if findings.title else []
    if not manifest.get("finished", True):
        parts.append('<p class="warning">This run was not finished; the same command resumes '
                     "it.</p>")
    if absent := validity.uncounted(findings.run):
        parts.append(f'<p class="warning">{html.escape(absent)}</p>')
    if (shared := validity.clients(findings.run)).rows:
        parts += ["<h3>Client hosts</h3>", shared.html()]
    parts += ["<h3>Gates</h3>", _gates(findings), f'<p class="note">{validity.GATES}</p>',
              _or_words("A/A: one variant against itself", same, "No A/A series in this run."),
              f"<p>No difference means within ±{percent(noise_margin(rows))}.</p>",
              _broken_stacks(findings.profiles), _stack_walks(findings.run), "<h3>Environment</h3>",
              validity.environment(findings.run).html(), "<h3>Exact commands</h3>",
              _commands(manifest)]
    return "".join(parts)


def _gates(findings: Findings) -> str:
    return ("".join(table.html() for table in validity.gates(findings))
            or f"<p>{html.escape(validity.passed(findings))}</p>")


def _broken_stacks(profiles: list[Profile]) -> str:
    worst = max((p.unresolved for p in profiles if p.unresolved is not None), default=None)
    if worst is None:
        return ""
    return (f"<h3>Broken stacks</h3><p>At most {percent(worst)} of a profile's stacks lost their "
            "outer end; inclusive shares are uncertain by as much.</p>")


def _stack_walks(run: Run) -> str:
    table = validity.stack_walks(run)
    if not table.rows:
        return ""
    return ("<h3>Frame pointers against DWARF</h3><p>The profiles follow frame pointers. These "
            "cells were recorded once more with DWARF unwinding, at a fifth of the stacks per "
            f"second, as a check on them.</p>{table.html()}")


def _or_words(title: str, table: Table, words: str) -> str:
    body = table.html() if table.rows else f"<p>{html.escape(words)}</p>"
    return f"<h3>{html.escape(title)}</h3>{body}"


def _commands(manifest: dict) -> str:
    lines = [manifest.get("command") or ""] + list((manifest.get("commands") or {}).values())
    text = "\n".join(str(line) for line in lines if line)
    return f"<pre>{html.escape(text)}</pre>"


def licence_section() -> Section:
    return Section("licences", "Licences of what this page embeds",
                   f"<details><summary>d3-flame-graph and d3</summary><pre>"
                   f"{html.escape(licences())}</pre></details>")
