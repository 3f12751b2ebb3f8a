"""manifest.json: what was planned, on which machine, with which server, by which command.

scripts/README.md describes every field; a test holds its table against a manifest that was written.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from results.errors import Unreadable, cannot
from results.schema import fits, parse, shown

SCHEMA = "idlewheel/1"
MANIFEST = "manifest.json"
# What readers rely on, where it is there. Folders of other versions may lack it, or hold null.
TYPES = {"id": str, "preset": str, "argv": list[str], "command": str, "seed": int, "created": str,
         "rounds": int, "label": str, "git": dict[str, Any], "git.sha": str, "git.dirty": bool,
         "binary": dict[str, Any], "binary.sha256": str, "binary.version": str, "binary.commit": str,
         "env": dict[str, Any], "plan": dict[str, Any], "plan.cells": list[str],
         "commands": dict[str, str], "finished": bool}
# What continuing a folder needs.
NEEDED = ("argv", "command", "binary.sha256", "env", "plan.cells")


def read(folder: Path) -> dict | None:
    """The manifest, or None when there is none."""
    path = folder / MANIFEST
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise Unreadable(f"{path} cannot be read ({why})") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else None
        raise Unreadable(f"{path} is of schema {shown(schema)}; this version reads {SCHEMA}")
    for name, kind in TYPES.items():
        if (value := _value(found, name)) is not None and not fits(value, kind):
            raise Unreadable(f"{path} is damaged: {name} is {shown(value)}")
    return found


def lacking(manifest: dict) -> list[str]:
    """What a study needs to continue, and this manifest does not have."""
    return [name for name in NEEDED if _value(manifest, name) is None]


def _value(found: object, name: str) -> object:
    for key in name.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def write(folder: Path, manifest: dict) -> None:
    """Whole or not at all: a reader never meets half a manifest."""
    name = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".manifest-")
        with os.fdopen(handle, "w") as out:
            json.dump(manifest, out, indent=1)
            out.write("\n")
            os.fchmod(out.fileno(), 0o644)
        os.replace(name, folder / MANIFEST)
    except OSError as error:
        if name:
            os.unlink(name)
        raise cannot(f"cannot write to {folder}: {error.strerror}; choose another folder with -o"
                     ) from None
