"""manifest.json: what was planned, on which machine, with which server, by which command.

scripts/README.md describes every field; a test holds its table against a manifest that was written.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from results.errors import Unreadable, cannot

SCHEMA = "idlewheel/1"
MANIFEST = "manifest.json"


def read(folder: Path) -> dict | None:
    """The manifest, or None when there is none."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path} cannot be read ({error})") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else None
        raise Unreadable(f"{path} is of schema {schema!r}; this version reads {SCHEMA}")
    return found


def write(folder: Path, manifest: dict) -> None:
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
