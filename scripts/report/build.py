"""The report of one result folder: report.html, summary.md and results.json beside its samples."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path

from report import analysis, page, profiles, run, summary, transports
from report.content import Findings
from report.embed import flame_data
from report.page import MissingTool
from report.profiles import Tree
from results.errors import Unreadable, cannot

__all__ = ["MissingTool", "Unreadable", "report", "analyse", "pruned", "write"]


def report(results_dir: Path) -> Path:
    """Writes the three files and returns the path of report.html.

    Raises Unreadable when there is nothing to report, MissingTool when scripts/setup has not
    installed the flame-graph renderer and there are profiles to draw.
    """
    tree = Tree()
    findings = analyse("", Path(results_dir), tree)
    tree = pruned(tree, [findings])
    text = _page(tree, findings)
    write(findings.run.folder / "summary.md", summary.markdown(findings))
    write(findings.run.folder / "results.json",
          json.dumps(summary.machine_readable(findings, tree), indent=1, allow_nan=False) + "\n")
    return write(findings.run.folder / "report.html", text)


def analyse(name: str, folder: Path, tree: Tree) -> Findings:
    read = run.read(folder)
    found = profiles.read(read, tree)
    return Findings(name, read, found, analysis.rows(read, found))


def pruned(tree: Tree, folders: list[Findings]) -> Tree:
    return profiles.prune(tree, [p for folder in folders for p in folder.profiles])


def write(path: Path, text: str) -> Path:
    """Whole or not at all: a reader never sees half a page."""
    part = path.with_name(path.name + ".part")
    try:
        # Names of files may hold bytes that are no text.
        part.write_text(text, encoding="utf-8", errors="replace")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot(f"cannot write {path}: {error.strerror}") from None
    return path


def _page(tree: Tree, findings: Findings) -> str:
    sections = [*page.cost_section(findings), *page.transport_section(findings), *page.flame_section([findings]),
                *page.ledger_section([findings]), *page.details_section(findings),
                *page.study_section(findings), *page.ticks_section(tree, [findings]),
                page.validity_section([findings])]
    data = None
    if findings.profiles:
        data = flame_data(tree, [findings], _start(findings))
        sections.append(page.licence_section())
    return page.assemble("idlewheel: report", _head(findings), sections, data)


def _start(findings: Findings) -> tuple[str, str]:
    """The pair to open with: the profile with the dearest timers, and the wheel beside it.

    A profile that stands alone on its transport has that of the other one beside it.
    """
    known = findings.profiles
    plain = [p for p in known if p.cell.conditions[:2] == ("respond", "default")] or known
    first = max(plain, key=lambda p: p.owner_us("timer"))
    others = [p for p in known
              if p.cell.conditions == first.cell.conditions and p is not first] or known
    beside = [p for p in others if p.cell.io == first.cell.io] or others
    wheel = [p for p in beside if p.cell.backend == "hierarchical-wheel"
             and p.cell.rearm == first.cell.rearm]
    second = (wheel or [min(beside, key=lambda p: p.us_per_request)])[0]
    return findings.key(first), findings.key(second)


def _head(findings: Findings) -> str:
    manifest = findings.run.manifest
    label = html.escape(str(manifest.get("label") or "unlabelled"))
    marked = f'<span class="label">{label}</span>'
    about = html.escape(summary.about(manifest)).replace(label, marked, 1)
    sentences = "".join(f"<p>{html.escape(line)}</p>" for line in transports.opening(findings.rows))
    return (f'<h1>idlewheel: what timeouts cost, backend by backend</h1><p class="run">{about}</p>'
            f'<div class="verdict">{sentences}</div>')
