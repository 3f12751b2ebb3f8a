"""The cores of this machine: which of them the study takes, and what may slow them down.

`root` is "/" except in tests. None or an empty result stands for what a machine does not say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from harness.process import text_of

ROOT = Path("/")
_CPU = "sys/devices/system/cpu"


def usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def pair(usable: list[int], root: Path = ROOT) -> tuple[int, int]:
    """The server's core and the client's: where possible not two threads of one core."""
    server, twins = usable[0], siblings(usable[0], root)
    others = [c for c in usable[1:] if c not in twins] or usable[1:] or usable
    return server, others[0]


def of_perf(usable: list[int], root: Path = ROOT) -> int:
    """A core that shares hardware with neither of the pair; the client's where there is none."""
    server, client = pair(usable, root)
    taken = siblings(server, root) | siblings(client, root)
    return next((cpu for cpu in usable if cpu not in taken), client)


def siblings(cpu: int, root: Path = ROOT) -> set[int]:
    """The hardware threads of the core, this one among them."""
    topology = root / f"{_CPU}/cpu{cpu}/topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the old name is the second
        if found := numbers(text_of(topology / name)):
            return found | {cpu}
    return {cpu}


def governors(wanted: tuple[int, ...], root: Path = ROOT) -> dict[int, str]:
    """The frequency governor of each core that has one; guests usually have none."""
    found = {cpu: text_of(root / f"{_CPU}/cpu{cpu}/cpufreq/scaling_governor") for cpu in wanted}
    return {cpu: name for cpu, name in found.items() if name}


def mitigations(root: Path = ROOT) -> str | None:
    """What the kernel does about faults of the processor, which system calls pay for."""
    files = sorted((root / f"{_CPU}/vulnerabilities").glob("*"))
    found = {file.name: text_of(file) for file in files}
    return "; ".join(f"{name}: {text}" for name, text in found.items()
                     if text and text != "Not affected") or None


def quota(root: Path = ROOT) -> float | None:
    """How many cores' time the control groups of this process allow it; None without a limit.

    Every level counts, from its own group up to the one at the root that it can see.
    """
    limits = [_limit(folder) for folder in _groups(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    """The limit of one group: in cpu.max (version 2) or in two files (version 1).

    "max" and -1 mean that there is none.
    """
    text = text_of(group / "cpu.max") or " ".join(
        text_of(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    found = re.fullmatch(r"(\d+)\s+([1-9]\d*)", text)
    return int(found[1]) / int(found[2]) if found else None


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups that may limit CPU time, with all above them."""
    own = [line.split(":", 2) for line in text_of(root / "proc/self/cgroup").splitlines()]
    paths = {kind: path for _, kinds, path in (o for o in own if len(o) == 3)
             for kind in kinds.split(",")}  # version 2 has no name
    for kind, top, mounted in _mounts(root):
        path = PurePosixPath(paths.get(kind, "/"))
        # In a container the mount may begin below the root of the host's groups.
        inner = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
        group = mounted / inner if ".." not in inner.parts else mounted
        yield group
        yield from (above for above in group.parents if above.is_relative_to(mounted))


def _mounts(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Mounted hierarchies: "" for version 2 or "cpu", the group at their top, and the folder."""
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *more) = before.split(), (after.split() or [""])
        if len(fields) < 5 or kind not in ("cgroup", "cgroup2"):
            continue
        if kind == "cgroup" and "cpu" not in (more or [""])[-1].split(","):
            continue
        top, mounted = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field)
                        for field in fields[3:5])
        yield "" if kind == "cgroup2" else "cpu", top, root / mounted.lstrip("/")


def numbers(text: str) -> set[int]:
    """A list as the kernel writes it: 0,4-7."""
    parts = [part.split("-") for part in text.split(",") if re.fullmatch(r"\d+(-\d+)?", part)]
    return {n for part in parts for n in range(int(part[0]), int(part[-1]) + 1)}
