"""summary.md: the report's tables for the README, and the two files for machines beside it."""

from __future__ import annotations

from dataclasses import asdict

from report import content
from report.analysis import groups, seed_of, verdict
from report.content import Loaded
from report.profiles import Ticks, Tree, bottom_up
from report.results import SCHEMA

FROM_MANIFEST = ("id", "preset", "command", "label", "created", "rounds", "seed", "git", "binary",
                 "env", "finished")


def about(manifest: dict) -> str:
    """One line: preset, label, machine, commit, date."""
    env, git = manifest.get("env") or {}, manifest.get("git") or {}
    commit = (git.get("sha") or "unknown")[:10]
    commit += " with local changes" if git.get("dirty") else ""
    machine = ", ".join(str(part) for part in (env.get("cpu"), _cores(env), env.get("os"),
                                               _kernel(env)) if part)
    label = manifest.get("label") or "unlabelled"
    label += "" if manifest.get("finished", True) else " · UNFINISHED, more cells are to come"
    return (f"preset {manifest.get('preset', 'unknown')} · {label} · {machine} · "
            f"commit {commit} · {str(manifest.get('created', ''))[:10]}")


def _cores(env: dict) -> str:
    return f"{env['cores']} cores" if env.get("cores") else ""


def _kernel(env: dict) -> str:
    return f"Linux {env['kernel']}" if env.get("kernel") else ""


def markdown(loaded: Loaded) -> str:
    parts = ["# idlewheel: results", about(loaded.run.manifest), *verdict(loaded.rows)]
    if loaded.rows:
        parts += ["## Cost", content.overview(loaded.rows).markdown(),
                  f"{content.ABOUT_SCENARIOS} {content.control_note(loaded.rows)}",
                  "## All figures",
                  *(content.details(group).markdown() for group in groups(loaded.rows).values())]
    if loaded.profiles:
        parts += ["## Owner shares of the profiles", content.shares(loaded).markdown()]
    if any(p.shares for p in loaded.profiles):
        parts += ["## Beside the study of 2014", "Share of ticks in the timer; ours as self / "
                  "inclusive / owner.", content.study_shares(loaded.profiles).markdown()]
    parts += ["## Validity", *_validity(loaded)]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _validity(loaded: Loaded) -> list[str]:
    bad = content.flagged(loaded.rows)
    same = content.same_against_same(loaded.rows, seed_of(loaded.run))
    passed = "Every timing cell passed its gates." if loaded.rows else "No cell was timed."
    return [bad.markdown() if bad.rows else passed,
            same.markdown() if same.rows else "No A/A series in this run."]


def machine_readable(loaded: Loaded, tree: Tree) -> dict:
    """results.json. Keys: schema, manifest, verdict, rows, profiles, comparisons.

    rows: analysis.Row, one a timing cell; profiles: shares and the study's table by cell;
    comparisons: each cell against its group's baseline, as ratios. Absent figures are null.
    """
    manifest = loaded.run.manifest
    return {"schema": SCHEMA, "manifest": {key: manifest.get(key) for key in FROM_MANIFEST},
            "verdict": verdict(loaded.rows), "rows": [_row(row) for row in loaded.rows],
            "profiles": [_profile(tree, p) for p in loaded.profiles],
            "comparisons": [{"cell": asdict(row.cell), **asdict(row.comparison)}
                            for row in loaded.rows if row.comparison]}


def _row(row) -> dict:
    found = asdict(row)
    found.pop("comparison")
    return found


def _profile(tree: Tree, profile) -> dict:
    return {"key": profile.key, "cell": asdict(profile.cell), "samples": profile.samples,
            "rounds": max(1, len(profile.rounds)), "requests": profile.requests,
            "us_per_request": profile.us_per_request, "unresolved": profile.unresolved,
            "shares": profile.shares, "files": profile.files,
            "ticks": [_ticks(line) for line in bottom_up(tree, profile)[:25]]}


def _ticks(line: Ticks) -> dict:
    return {"name": line.name, "ticks": line.ticks, "share": line.share,
            "callers": [{"name": c.name, "ticks": c.ticks, "share": c.share}
                        for c in line.callers]}
