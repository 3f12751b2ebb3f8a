"""A result folder: the manifest that says what was planned, and one appended line a cell."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from harness import Stop, bad_usage, cannot
from harness.plan import Cell, Settings

SCHEMA = "idlewheel/1"
MANIFEST, SAMPLES = "manifest.json", "samples.jsonl"


def new_id(preset: str) -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ") + f"-{preset}"


def read_manifest(folder: Path) -> dict | None:
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise bad_usage(f"{path} cannot be read ({error}); choose another folder with -o") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise bad_usage(f"{path} is not of schema {SCHEMA}; choose another folder with -o")
    return found


def write_manifest(folder: Path, manifest: dict) -> None:
    """Whole or not at all: a reader never meets half a manifest."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".manifest-")
    except OSError as error:
        raise cannot(f"cannot write to {folder}: {error.strerror}; choose another folder with -o"
                     ) from None
    with os.fdopen(handle, "w") as out:
        json.dump(manifest, out, indent=1)
        out.write("\n")
        os.fchmod(out.fileno(), 0o644)
    os.replace(name, folder / MANIFEST)


def read_samples(folder: Path) -> list[dict]:
    """The samples so far; a last line that was cut short by a crash is dropped from the file."""
    path = folder / SAMPLES
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines() if line.strip()]
    except ValueError as error:
        raise bad_usage(f"{path} cannot be read ({error}); choose another folder with -o") from None


def drop_failed(folder: Path) -> list[dict]:
    """The samples without the cells that could not be measured, which are thus due again."""
    samples = read_samples(folder)
    kept = [sample for sample in samples if sample["valid"]]
    if len(kept) < len(samples):
        text = "".join(json.dumps(s, separators=(",", ":")) + "\n" for s in kept)
        (folder / (SAMPLES + ".new")).write_text(text)
        os.replace(folder / (SAMPLES + ".new"), folder / SAMPLES)
    return kept


def append(folder: Path, sample: dict) -> None:
    with open(folder / SAMPLES, "a") as out:
        out.write(json.dumps(sample, separators=(",", ":"), allow_nan=False) + "\n")
        out.flush()
        os.fsync(out.fileno())


def plan_entry(settings: Settings, cells: list[Cell]) -> dict:
    return asdict(settings) | {"cells": [c.id for c in cells]}


def settings_of(manifest: dict) -> Settings:
    try:
        return Settings(**_identity(manifest["plan"]))
    except TypeError:
        raise bad_usage("this folder was made by another version of scripts/study; choose "
                        "another with -o") from None


def _identity(plan: dict) -> dict:
    """What two runs must share to share a folder; the profiles may be added later."""
    return {k: v for k, v in plan.items() if k != "cells"}


def differences(manifest: dict, plan: dict, sha256: str) -> list[str]:
    """What keeps a run from continuing in the folder of this manifest."""
    old, new = _identity(manifest["plan"]), _identity(plan)
    found = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    return found + (["server binary"] if manifest["binary"]["sha256"] != sha256 else [])


def refuse_to_mix(folder: Path, manifest: dict, plan: dict, sha256: str) -> None:
    if found := differences(manifest, plan, sha256):
        raise bad_usage(f"{folder} holds another run (different {', '.join(found)}); choose "
                        f"another folder with -o, or continue that one as: {manifest['command']}")


def unfinished(results: Path, plan: dict, sha256: str) -> Path | None:
    """The newest folder in results, when it is this very plan and not finished."""
    folders = [p.parent for p in results.glob(f"*/{MANIFEST}")]
    if not folders:
        return None
    newest = max(folders, key=lambda f: f.joinpath(MANIFEST).stat().st_mtime)
    try:
        manifest = read_manifest(newest)
    except Stop:
        return None  # of another version of this program
    same = manifest and not manifest.get("finished") and not differences(manifest, plan, sha256)
    return newest if same else None
