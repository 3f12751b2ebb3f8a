"""Reads what `scripts/study run` and `profile` left behind: manifest.json and samples.jsonl.

Everything else in this package works on a Run; nothing else opens those two files. A folder may be
partial (no profiles, no system-call counts, cells that failed their gates): what is absent is
absent here too, and no figure is made up for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from harness import Stop

SCHEMA = "idlewheel/1"

SCENARIO_WORDS = {
    "respond": "S1: every request answered at once",
    "increasing-timeout": "S2: every request times out",
    "mixed": "mixed: one request in ten times out",
}
SCENARIO_ORDER = list(SCENARIO_WORDS)


class Unreadable(Stop):
    """The folder holds no results this report understands; the message says why in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 2)


@dataclass(frozen=True)
class Cell:
    """What was run, rounds aside. `alias` is "A/A" for the variant that runs twice a round."""

    scenario: str
    timeouts: str
    backend: str
    rearm: str
    connections: int
    alias: str | None = None

    @property
    def variant(self) -> str:
        """The backend and its rearm mode; `none` has no timers, hence no mode."""
        name = self.backend if self.backend == "none" else f"{self.backend} {self.rearm}"
        return f"{name} ({self.alias})" if self.alias else name

    @property
    def group(self) -> tuple[str, str, int]:
        """Cells of one group differ in the timers only and may be compared with each other."""
        return (self.scenario, self.timeouts, self.connections)

    @property
    def label(self) -> str:
        short = " short timeouts" if self.timeouts == "short" else ""
        return f"{self.scenario}{short} · {self.connections} · {self.variant}"

    @property
    def key(self) -> str:
        short = "+short" if self.timeouts == "short" else ""
        tail = "-aa" if self.alias else ""
        return f"{self.scenario}{short}-{self.backend}-{self.rearm}-{self.connections}{tail}"

    def order(self) -> tuple:
        scenario = SCENARIO_ORDER.index(self.scenario) if self.scenario in SCENARIO_ORDER else 99
        return (scenario, self.timeouts, self.connections, self.backend == "none", self.rearm,
                self.backend, self.alias or "")


@dataclass
class Run:
    """One results folder. `samples[kind][cell]` are its samples, one a round, in round order."""

    folder: Path
    manifest: dict
    samples: dict[str, dict[Cell, list[dict]]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> dict[Cell, list[dict]]:
        return self.samples.get(kind, {})

    @property
    def rounds(self) -> int:
        """The most rounds any timing cell really has, whatever the plan said."""
        return max((len(found) for found in self.of_kind("load").values()), default=0)


def cell_of(sample: dict) -> Cell:
    return Cell(sample["scenario"], sample.get("timeouts", "default"), sample["backend"],
                sample["rearm"], int(sample["connections"]), sample.get("alias"))


def usable(samples: list[dict]) -> list[dict]:
    """The valid samples; all of them, when none is, for a flagged figure beats a missing one."""
    return [s for s in samples if s.get("valid", True)] or samples


def read(folder: Path) -> Run:
    run = Run(folder, _read_manifest(folder))
    for sample in sorted(_read_samples(folder), key=lambda s: s.get("round", 0)):
        run.samples.setdefault(sample["kind"], {}).setdefault(cell_of(sample), []).append(sample)
    if not run.samples:
        raise Unreadable(f"{folder}: samples.jsonl holds no sample yet; run scripts/study run -o "
                         f"{folder} first")
    return run


def _read_manifest(folder: Path) -> dict:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unreadable(f"{folder}: no manifest.json; did scripts/study run write it?")
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: {error}")
    if manifest.get("schema") != SCHEMA:
        raise Unreadable(f"{path}: schema {manifest.get('schema')!r}, this report reads {SCHEMA}")
    return manifest


def _read_samples(folder: Path) -> list[dict]:
    """The last line of an id counts. An interrupted run may leave a torn last line: dropped."""
    path = folder / "samples.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise Unreadable(f"{folder}: no samples.jsonl; nothing was measured yet")
    found: dict[str, dict] = {}
    for number, line in enumerate(lines, 1):
        try:
            sample = json.loads(line)
            cell_of(sample)
            found[sample["id"]] = sample
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):
                raise Unreadable(f"{path}:{number}: not a sample: {error!r}")
    return list(found.values())
