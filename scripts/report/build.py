"""The report of one results folder: report.html, summary.md and results.json beside its samples."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path

from report import analysis, page, profiles, results, summary
from report.content import Loaded
from report.embed import flame_data
from report.page import MissingTool
from report.profiles import Tree
from report.results import Unreadable

__all__ = ["MissingTool", "Unreadable", "report", "load", "pruned", "write"]


def report(results_dir: Path) -> Path:
    """Writes the three files and returns the path of report.html.

    Raises Unreadable when there is nothing to report, MissingTool when scripts/setup has not
    installed the flame-graph renderer and there are profiles to draw.
    """
    tree = Tree()
    loaded = load("", Path(results_dir), tree)
    tree = pruned(tree, [loaded])
    text = _page(tree, loaded)
    write(loaded.run.folder / "summary.md", summary.markdown(loaded))
    write(loaded.run.folder / "results.json",
          json.dumps(summary.machine_readable(loaded, tree), indent=1, allow_nan=False) + "\n")
    return write(loaded.run.folder / "report.html", text)


def load(name: str, folder: Path, tree: Tree) -> Loaded:
    run = results.read(folder)
    found = profiles.load(run, tree)
    return Loaded(name, run, found, analysis.rows(run, found))


def pruned(tree: Tree, folders: list[Loaded]) -> Tree:
    return profiles.prune(tree, [p for folder in folders for p in folder.profiles])


def write(path: Path, text: str) -> Path:
    """Whole or not at all: a reader never sees half a page."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def _page(tree: Tree, loaded: Loaded) -> str:
    sections = [*page.cost_section(loaded), *page.flame_section([loaded]),
                *page.ledger_section([loaded]), *page.details_section(loaded),
                *page.study_section(loaded), *page.ticks_section(tree, [loaded]),
                page.validity_section([loaded])]
    data = None
    if loaded.profiles:
        data = flame_data(tree, [loaded], _start(loaded))
        sections.append(page.licence_section())
    return page.assemble("idlewheel: report", _head(loaded), sections, data)


def _start(loaded: Loaded) -> tuple[str, str]:
    """The pair to open with: the profile with the dearest timers, and the wheel beside it."""
    known = loaded.profiles
    plain = [p for p in known if p.cell.group[:2] == ("respond", "default")] or known
    first = max(plain, key=lambda p: p.owner_us("timer"))
    beside = [p for p in known if p.cell.group == first.cell.group and p is not first] or known
    wheel = [p for p in beside if p.cell.backend == "hierarchical-wheel"
             and p.cell.rearm == first.cell.rearm]
    second = (wheel or [min(beside, key=lambda p: p.us_per_request)])[0]
    return loaded.key(first), loaded.key(second)


def _head(loaded: Loaded) -> str:
    manifest = loaded.run.manifest
    label = html.escape(str(manifest.get("label") or "unlabelled"))
    marked = f'<span class="label">{label}</span>'
    about = html.escape(summary.about(manifest)).replace(label, marked, 1)
    sentences = "".join(f"<p>{html.escape(line)}</p>" for line in analysis.verdict(loaded.rows))
    return (f'<h1>idlewheel: what timeouts cost, backend by backend</h1><p class="run">{about}</p>'
            f'<div class="verdict">{sentences}</div>')
