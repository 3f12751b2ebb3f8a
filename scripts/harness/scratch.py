"""Private folders under a plain name, whatever TMPDIR or the checkout are called.

perf loses a mapping whose path holds a byte beyond ASCII, and its --control splits at a comma.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_USUAL = ("/tmp", "/var/tmp", "/dev/shm")


def candidates(*last: Path) -> Iterator[Path]:
    """Folders for temporary files: TMPDIR, the usual ones, then `last`; plain names come first."""
    wanted = [tempfile.gettempdir(), *_USUAL, *last]
    found = list(dict.fromkeys(Path(os.path.realpath(each)) for each in wanted))
    yield from sorted(found, key=lambda folder: not _PLAIN.fullmatch(os.fspath(folder)))


def made(prefix: str, parent: Path) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix=prefix, dir=parent)


def folder(prefix: str) -> tempfile.TemporaryDirectory:
    """A new private folder, under a plain name wherever one of the candidates has one."""
    refused: OSError | None = None
    for parent in candidates():
        try:
            return made(prefix, parent)
        except OSError as error:
            refused = refused or error
    raise refused
