"""summary.md: the report's tables for the README, and the two files for machines beside it."""

from __future__ import annotations

from dataclasses import asdict

from report import content, study_2014, transports, validity
from report.analysis import Comparison, Row, by_conditions, seed_of
from report.content import Findings
from report.profiles import Profile, Ticks, Tree, bottom_up
from results.cell import Cell
from results.manifest import SCHEMA

FROM_MANIFEST = ("id", "preset", "command", "label", "created", "rounds", "seed", "git", "binary",
                 "env", "finished")


def about(manifest: dict) -> str:
    """One line: preset, label, machine, commit, date."""
    env = manifest.get("env") or {}
    machine = ", ".join(str(part) for part in (env.get("cpu"), _cores(env), env.get("os"),
                                               _kernel(env), _hosts(env)) if part)
    label = manifest.get("label") or "unlabelled"
    label += "" if manifest.get("finished", True) else " · UNFINISHED, more cells are to come"
    return (f"preset {manifest.get('preset', 'unknown')} · {label} · {machine} · "
            f"commit {commit(manifest)} · {str(manifest.get('created', ''))[:10]}")


def commit(manifest: dict) -> str:
    """The commit of the server. Folders of earlier versions know only that of the scripts."""
    binary, git = manifest.get("binary") or {}, manifest.get("git") or {}
    sha, dirty = git.get("sha") or "", git.get("dirty")
    if "commit" in binary:
        sha, _, dirty = (binary["commit"] or "").partition("-")
    return (sha[:10] or "unknown") + (" with local changes" if dirty else "")


def _cores(env: dict) -> str:
    return f"{env['cores']} cores" if env.get("cores") else ""


def _kernel(env: dict) -> str:
    return f"Linux {env['kernel']}" if env.get("kernel") else ""


def _hosts(env: dict) -> str:
    """Where the load came from, if not from the server's own machine."""
    clients = [name for name in env.get("hosts") or {} if name.startswith("client ")]
    return f"load from {len(clients)} other host{'s' * (len(clients) > 1)}" if clients else ""


def markdown(findings: Findings) -> str:
    parts = ["# idlewheel: results", about(findings.run.manifest), *transports.opening(findings.rows)]
    if findings.rows:
        parts += ["## Cost", content.overview(findings.rows).markdown(),
                  f"{content.ABOUT_SCENARIOS} {content.control_note(findings.rows)}",
                  "## All figures",
                  *(content.details(alike).markdown()
                    for alike in by_conditions(findings.rows).values())]
    if (moved := transports.table(findings.rows, seed_of(findings.run))).rows:
        parts += [f"## {transports.TITLE}", moved.markdown(), transports.NOTE]
    if findings.profiles:
        parts += ["## Owner shares of the profiles", content.shares(findings).markdown()]
        parts += [note] if (note := content.stars_note(findings.profiles)) else []
    if any(p.shares for p in findings.profiles):
        parts += ["## Beside the 2014 study", "Share of ticks in the timer; ours as self / "
                  "inclusive / owner.", study_2014.shares(findings.profiles).markdown()]
    parts += ["## Validity", *_validity(findings)]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _validity(findings: Findings) -> list[str]:
    bad = [table.markdown() for table in validity.gates(findings)]
    same = validity.same_against_same(findings.rows, seed_of(findings.run))
    notes = [validity.hosts(findings.run), validity.uncounted(findings.run)]
    shared = validity.clients(findings.run)
    return [*filter(None, notes), *([shared.markdown()] if shared.rows else []), *(bad or [validity.passed(findings)]),
            same.markdown() if same.rows else "No A/A series in this run."]


def machine_readable(findings: Findings, tree: Tree) -> dict:
    """results.json. Keys: schema, manifest, verdict, rows, profiles, comparisons, transports.

    rows: analysis.Row, one a timing cell; profiles: shares and the study's table by cell;
    comparisons: each cell against its group's baseline, as ratios; transports: each cell against
    itself on the other transport. Absent figures are null.
    """
    manifest = findings.run.manifest
    return {"schema": SCHEMA, "manifest": {key: manifest.get(key) for key in FROM_MANIFEST},
            "verdict": transports.opening(findings.rows), "rows": [_row(row) for row in findings.rows],
            "profiles": [_profile(tree, p) for p in findings.profiles],
            "comparisons": [_comparison(row.cell, row.comparison)
                            for row in findings.rows if row.comparison],
            "transports": [_comparison(row.cell, found) for row, _, found
                           in transports.pairs(findings.rows, seed_of(findings.run))]}


def _row(row: Row) -> dict:
    found = asdict(row)
    found.pop("comparison")
    return found


def _comparison(cell: Cell, found: Comparison) -> dict:
    return {"cell": asdict(cell), "baseline": found.baseline, "ratio": found.ratio,
            "low": found.low, "high": found.high, "p": found.p, "p_holm": found.p_holm,
            "n": found.n, "verdict": content.verdict_words(found)}


def _profile(tree: Tree, profile: Profile) -> dict:
    return {"key": profile.key, "cell": asdict(profile.cell), "samples": profile.total,
            "rounds": max(1, len(profile.rounds)), "requests": profile.requests,
            "us_per_request": profile.us_per_request, "unresolved": profile.unresolved,
            "flags": profile.flags,
            "shares": profile.shares, "files": profile.files,
            "ticks": [_ticks(line) for line in bottom_up(tree, profile)[:25]]}


def _ticks(line: Ticks) -> dict:
    return {"name": line.name, "ticks": line.ticks, "share": line.share,
            "callers": [{"name": c.name, "ticks": c.ticks, "share": c.share}
                        for c in line.callers]}
