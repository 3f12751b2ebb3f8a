"""What system calls cost on this machine, and how many of them a request takes."""

from __future__ import annotations

import re
from pathlib import Path

from harness.process import Child, text_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/bench/syscall_cost"
LIMIT_S = 20.0
MELTDOWN = "/sys/devices/system/cpu/vulnerabilities/meltdown"


def cost_ns(cpu: int, program: Path = PROGRAM) -> float | None:
    """The nanoseconds of a bare system call on this core; None where the program is not built."""
    try:
        with Child([str(program)], {cpu}) as child:
            return float(child.output()) if child.wait(LIMIT_S) == 0 else None
    except (OSError, ValueError):
        return None


def isolation() -> str | None:
    """Whether the kernel keeps its page table apart, which makes every system call dearer.

    Without PCID each change of the table also empties the processor's cache of it. None: unknown.
    """
    return isolation_of(text_of(MELTDOWN), text_of("/proc/cpuinfo"))


def isolation_of(said: str, cpuinfo: str) -> str | None:
    """The same for a machine on which these files say so."""
    flags = re.findall(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    known = set(flags[0].split()) if flags else set()
    if "pti" in known or "PTI" in said:
        return f"on, {'with' if 'pcid' in known else 'without'} PCID" if known else "on"
    return "off" if said and not said.startswith("Unknown") else None


def words(cpu: int) -> str:
    """Both facts in a sentence."""
    cost = cost_ns(cpu)
    price = f"takes {cost:.0f} ns" if cost is not None else "was not measured (syscall_cost is not built)"
    return (f"A bare system call (getppid) {price} on this machine; page-table isolation is "
            f"{isolation() or 'unknown'}.")
