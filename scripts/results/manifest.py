"""manifest.json: what was planned, on which machine, with which server, by which command."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from results.errors import Unreadable, cannot

SCHEMA = "idlewheel/1"
MANIFEST = "manifest.json"
_TOOLS = "versions of the tools"
_PINNING = "cores of the server, and of wrk and perf"
_CHOICE = "what is measured: the preset's choice, or that of the flags"
_COUNTED = "workloads and levels whose system calls are counted (no level: all)"
_PROFILES = "re-arm modes, rounds and window of the profiles"

# Path, unit and meaning of every field; scripts/README.md lists them.
FIELDS = [
    ("schema", "", f"`{SCHEMA}`: the format of this file and of the samples"),
    ("id", "", "name of the folder"),
    ("preset", "", "`--preset`"),
    ("argv", "", "the command that made the folder: as a list, and for a shell"),
    ("command", "", "the command that made the folder: as a list, and for a shell"),
    ("seed", "", "seed of the random order and of the statistics"),
    ("created", "UTC", "when the study began, ISO 8601"),
    ("rounds", "rounds", "how often each cell of the workload `respond` is timed"),
    ("label", "", "how many rounds, in words, and whether they are enough for a verdict"),
    ("git.sha", "", "commit of the checkout; null when unknown"),
    ("git.dirty", "", "whether files of the checkout were changed; null when unknown"),
    ("binary.sha256", "", "checksum of the server binary"),
    ("binary.version", "", "what `--version` of the server says"),
    ("env.cpu", "", "model of the processor"),
    ("env.cores", "cores", "cores that the study may use"),
    ("env.memory_gib", "GiB", "memory of the machine"),
    ("env.virt", "", "virtual machine, kernel and operating system"),
    ("env.kernel", "", "virtual machine, kernel and operating system"),
    ("env.os", "", "virtual machine, kernel and operating system"),
    ("env.somaxconn", "connections", "longest backlog of a listener"),
    ("env.port_range", "ports", "first and last port of outgoing connections"),
    ("env.nofile", "descriptors", "most open files per process"),
    ("env.aslr", "", "`kernel.randomize_va_space` and `kernel.perf_event_paranoid`"),
    ("env.perf_paranoid", "", "`kernel.randomize_va_space` and `kernel.perf_event_paranoid`"),
    ("env.pinning.server", "core", _PINNING),
    ("env.pinning.client", "core", _PINNING),
    *((f"env.tools.{tool}", "", _TOOLS) for tool in ("wrk", "perf", "compiler", "python")),
    *((f"plan.{name}", "", _CHOICE) for name in ("preset", "backends", "connections", "rearm",
                                                 "scenarios", "seed", "rounds")),
    ("plan.slow_rounds", "rounds", "how often the cells of the other workloads are timed"),
    ("plan.levels.<workload>", "connections", "numbers of connections of each workload"),
    ("plan.window_s", "s", "length of a window; some workloads take longer ones"),
    ("plan.settle_s", "s", "steady load before the window, once all connections are open"),
    ("plan.wrk_threads", "threads", "threads of wrk"),
    ("plan.wrk_duration_s", "s", "wrk's own `-d` in the preset `paper`, else null"),
    ("plan.retries", "", "how often a flagged measurement is made again"),
    ("plan.aa", "", "whether there is an A/A series"),
    ("plan.syscall_loads", "", _COUNTED),
    ("plan.syscall_levels", "", _COUNTED),
    ("plan.profile_rearm", "", _PROFILES),
    ("plan.profile_rounds", "", _PROFILES),
    ("plan.profile_window_s", "s", _PROFILES),
    ("plan.dwarf_level", "connections", "level at which profiles are checked with DWARF"),
    ("plan.cells", "", "id of every measurement that is planned"),
    ("commands.server", "", "exact command lines, with names in place of what varies"),
    ("commands.wrk", "", "exact command lines, with names in place of what varies"),
    ("commands.perf", "", "exact command lines, with names in place of what varies"),
    ("finished", "", "whether every planned measurement was made"),
]


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
