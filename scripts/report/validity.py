"""What of a result folder cannot be relied on: failed gates, failed measurements, absent counters."""

from __future__ import annotations

from report import content
from report.content import Findings
from report.run import Run
from report.tables import Table, Text
from results.sample import Sample, flags_of, left_out, usable

# The kinds beside timing.
KINDS = {"syscalls": "system calls", "profile": "profile", "dwarf": "profile, DWARF"}


def gates(findings: Findings) -> list[Table]:
    """What failed, timing cells first; no table where nothing did."""
    found = (content.flagged(findings.rows), other_measurements(findings.run))
    return [table for table in found if table.rows]


def passed(findings: Findings) -> str:
    """What stands in place of these tables."""
    others = any(map(findings.run.of_kind, KINDS))
    kinds = (["timing cell"] if findings.rows else []) + (
        ["profile and count of system calls"] if others else [])
    return f"Every {' and every '.join(kinds)} passed its gates."


def other_measurements(run: Run) -> Table:
    """Profiles and counts of system calls that failed, or failed a gate."""
    table = Table([Text("measurement"), Text("cell"), Text("valid rounds"), Text("flags")])
    for kind, words in KINDS.items():
        cells = sorted(run.of_kind(kind).items(), key=lambda found: found[0].sort_key())
        for cell, samples in cells:
            if faults := _faults(samples):
                valid = sum(s.valid for s in samples)
                table.rows.append([Text(words), Text(cell.label),
                                   Text(f"{valid} of {len(samples)}"),
                                   Text("; ".join(faults), tone="" if valid else "invalid")])
    return table


def _faults(samples: list[Sample]) -> list[str]:
    unused = left_out(samples)
    words = content.left_out_words(len(unused), len(samples), flags_of(unused))
    errors = sorted({s.error or "failed" for s in samples if not s.valid})
    return [flag for flag in flags_of(usable(samples)) if flag != "failed"] + words + errors


def uncounted(run: Run) -> str:
    """Which counters the machine lacks; empty when it has all."""
    lacking = (run.manifest.get("env") or {}).get("uncounted")
    return (f"This machine does not count: {', '.join(lacking)}. These figures are absent, and no "
            "gate judged them.") if lacking else ""
