"""One result folder as the report works on it: its manifest, and its samples by kind and cell.

A folder may be partial (no profiles, no system-call counts, cells that failed their gates): what is
absent is absent here too, and no figure is made up for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from results import journal, manifest as manifests
from results.cell import Cell
from results.errors import Unreadable
from results.sample import Sample


@dataclass
class Run:
    """`samples[kind][cell]` are a cell's samples, one per round, in the order of the rounds."""

    folder: Path
    manifest: dict
    samples: dict[str, dict[Cell, list[Sample]]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> dict[Cell, list[Sample]]:
        return self.samples.get(kind, {})

    @property
    def rounds(self) -> int:
        """The most rounds any timing cell really has, whatever the plan said."""
        return max((len(found) for found in self.of_kind("load").values()), default=0)


def read(folder: Path) -> Run:
    manifest = manifests.read(folder)
    if manifest is None:
        raise Unreadable(f"{folder} is no result folder of scripts/study: it has no manifest.json")
    run = Run(folder, manifest)
    for sample in sorted(journal.read(folder), key=lambda s: s.round):
        run.samples.setdefault(sample.kind, {}).setdefault(sample.cell, []).append(sample)
    if not run.samples:
        raise Unreadable(f"{folder}: samples.jsonl holds no sample yet; run scripts/study run -o "
                         f"{folder} first")
    return run
