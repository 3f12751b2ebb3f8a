"""Which folder a study writes to: a new one, or one that holds this very study, unfinished."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from harness import plan
from harness.plan import Settings
from results import machine, manifest as manifests
from results.cell import IOS, Measurement
from results.errors import Stop, Unreadable, bad_usage
from results.schema import fits, hints, shown


def new_id(preset: str) -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ") + f"-{preset}"


def read_manifest(folder: Path) -> dict | None:
    """For a folder that is to be written to."""
    try:
        found = manifests.read(folder)
    except Unreadable as error:
        raise bad_usage(f"{error}; choose another folder with -o") from None
    if found and (lacking := manifests.lacking(found)):
        raise bad_usage(f"{folder / manifests.MANIFEST} is damaged: it has no {lacking[0]}; choose "
                        "another folder with -o")
    return found


def plan_entry(settings: Settings, todo: list[Measurement]) -> dict:
    """The plan as the manifest keeps it."""
    return asdict(settings) | {"cells": [each.id for each in todo]}


def settings_of(manifest: dict) -> Settings:
    found, types = _identity(manifest["plan"]), hints(Settings)
    if found.keys() != types.keys():
        raise bad_usage("this folder was made by another version of scripts/study; choose "
                        "another with -o")
    for name, value in found.items():
        if not fits(value, types[name]):
            raise bad_usage(f"{manifests.MANIFEST} of this folder is damaged: plan.{name} is "
                            f"{shown(value)}; choose another folder with -o")
    settings = Settings(**found)
    if name := plan.implausible(settings):
        raise bad_usage(f"{manifests.MANIFEST} of this folder is damaged: nobody can have asked for "
                        f"such {name}; choose another folder with -o")
    return settings


def _identity(plan: dict) -> dict:
    """What two runs must share to share a folder; the profiles may be added later.

    Folders of earlier versions know one transport only and do not name it.
    """
    return {"io": IOS[:1]} | {k: v for k, v in plan.items() if k != "cells"}


@dataclass(frozen=True)
class Study:
    """What the figures of a folder belong to: a plan, a machine and a server."""

    plan: dict
    sha256: str
    env: dict


def differences(manifest: dict, study: Study) -> list[str]:
    """What keeps a study from continuing in the folder of this manifest."""
    old, new = _identity(manifest["plan"]), _identity(study.plan)
    found = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    return found + (["server binary"] if manifest["binary"]["sha256"] != study.sha256 else [])


def other_machine(manifest: dict, study: Study) -> list[str]:
    """How the machine of this manifest differs from the one that the study runs on."""
    return machine.differences(manifest["env"], study.env, machine.CONTINUED)


def refuse_to_mix(folder: Path, manifest: dict, study: Study) -> None:
    if found := other_machine(manifest, study):
        raise bad_usage(f"{folder} was measured on another machine: {'; '.join(found)}; choose "
                        "another folder with -o")
    if found := differences(manifest, study):
        raise bad_usage(f"{folder} holds another run (different {', '.join(found)}); choose "
                        f"another folder with -o, or continue that one as: {manifest['command']}")


def unfinished(results: Path, study: Study) -> Path | None:
    """The newest folder in results, when it is this very study and not finished."""
    folders = [p.parent for p in results.glob(f"*/{manifests.MANIFEST}")]
    if not folders:
        return None
    newest = max(folders, key=lambda f: f.joinpath(manifests.MANIFEST).stat().st_mtime)
    try:
        manifest = read_manifest(newest)
    except Stop:
        return None  # damaged, or of another version of this program
    if not manifest or manifest.get("finished"):
        return None
    same = not differences(manifest, study) and not other_machine(manifest, study)
    return newest if same else None
