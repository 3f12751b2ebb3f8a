"""What this machine is: everything that decides whether and how well it can run the study."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness import cpus, io_uring, perf
from harness.process import HostTimes, number_of, text_of

TOOLS = {"wrk": "wrk", "perf": "linux-perf", "cmake": "cmake", "ninja": "ninja-build",
         "node": "nodejs", "npm": "npm", "ssh": "openssh-client"}
CAP_SYS_ADMIN, CAP_PERFMON = 21, 38
TRACEPOINT = f"{perf.TRACING}/events/raw_syscalls/sys_enter/id"
D3 = Path("scripts/report/node_modules/d3-flame-graph/dist/d3-flamegraph.min.js")


@dataclass(frozen=True)
class Facts:
    """Everything the checks look at, so that tests can invent a machine.

    None stands for what a machine does not say.
    """

    python: tuple[int, int]
    cores: list[int]
    nofile: int
    somaxconn: int | None
    port_range: tuple[int, int] | None
    time_wait: int | None
    tw_reuse: int | None
    perf_paranoid: int | None
    kptr_restrict: int | None
    root: bool
    tools: dict[str, str | None]
    perf_records: str  # why perf cannot record; empty when it can
    tracepoints: str
    d3: bool
    container: bool = False
    perfmon: bool = False  # whether perf gets the capability that opens it to more than users
    carried: bool = False  # whether its file would give it that, and something withholds it
    kernel_named: bool = True  # whether perf knew names of the kernel's functions
    seccomp: bool = False
    tracefs: str = ""  # why its events cannot be read: "unreadable" or "not mounted"
    siblings: bool = False  # whether the two cores are threads of one
    governors: dict[int, str] = field(default_factory=dict)
    quota: float | None = None  # cores' time that is allowed at most; None without a limit
    uncounted: list[str] = field(default_factory=list)  # what the kernel's counters lack
    io_uring: io_uring.Refusal | None = None


def raise_file_limit() -> int:
    """Raise the soft descriptor limit to the hard one, for children too; the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def _port_range() -> tuple[int, int] | None:
    found = text_of("/proc/sys/net/ipv4/ip_local_port_range").split()
    return (int(found[0]), int(found[1])) if len(found) == 2 else None


def _time_wait() -> int | None:
    found = re.search(r"^TCP:.* tw (\d+)", text_of("/proc/net/sockstat"), re.MULTILINE)
    return int(found[1]) if found else None


def _status(key: str) -> str:
    """A line of what the kernel says about this process."""
    found = re.search(rf"^{key}:\s*(\S+)", text_of("/proc/self/status"), re.MULTILINE)
    return found[1] if found else "0"


def _has_perfmon(carried: bool) -> bool:
    """Whether perf has the capability: from us, or from its file as far as we may pass that on."""
    held = perf.capabilities()
    if carried and _status("NoNewPrivs") == "0":
        held |= perf.capabilities("CapBnd")
    return bool(held >> CAP_PERFMON & 1 or held >> CAP_SYS_ADMIN & 1)


def _carries_capabilities(program: str | None) -> bool:
    try:
        return program is not None and bool(os.getxattr(program, "security.capability"))
    except OSError:  # it has none, or its file system knows none
        return False


def in_container() -> bool:
    """Whether a container keeps us from the kernel's settings, so that only its host has them.

    Docker, Podman, LXC, systemd-nspawn and Kubernetes each leave one of these marks.
    """
    marks = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container", "/dev/.lxc-boot-id")
    first = text_of("/proc/1/environ").split("\0")  # of root only
    groups = re.search(r"/(docker|lxc|libpod|kubepods|machine\.slice)\b", text_of("/proc/1/cgroup"))
    marked = (any(map(os.path.exists, marks)) or "container" in os.environ or bool(groups)
              or any(entry.startswith("container=") for entry in first))
    return marked and not _has_settings()


def _has_settings() -> bool:
    """Whether root may write to /proc/sys, as in a privileged container or a virtual machine."""
    try:
        read_only = os.statvfs("/proc/sys").f_flag & os.ST_RDONLY
    except OSError:
        return False
    return not read_only and perf.in_first_user_namespace()


def _tracefs() -> str:
    if os.access(TRACEPOINT, os.R_OK):
        return ""
    seen = os.access(perf.TRACING, os.X_OK) and not os.path.exists(TRACEPOINT)
    return "not mounted" if seen or not os.path.exists(perf.TRACING) else "unreadable"


def _uncounted(usable: list[int]) -> list[str]:
    """What HostTimes cannot read here, in words."""
    host = HostTimes.read()
    return [words for words, known in (
        ("CPU time of other programs",
         bool(host.core_busy_s) or host.busy_s is not None and host.cores <= 2),
        ("steal", host.steal_s is not None),
        ("how busy the server's core is", set(usable) <= host.core_busy_s.keys()),
        ("pressure", host.psi_some_s is not None)) if not known]


def gather(root: Path, measures: bool = True) -> Facts:
    """measures: whether anything is measured on this machine, so that it has to try perf."""
    tools = {name: shutil.which(name) for name in TOOLS}
    missing = "perf is not installed" if not tools["perf"] else "" if measures else "not tried"
    usable = cpus.usable_cores()
    server, client = cpus.pair(usable)
    trial = perf.Trial(missing) if missing else perf.trial()
    carried = _carries_capabilities(tools["perf"])
    return Facts(
        python=sys.version_info[:2], cores=usable,
        nofile=raise_file_limit(), somaxconn=number_of("/proc/sys/net/core/somaxconn"),
        port_range=_port_range(), time_wait=_time_wait(),
        tw_reuse=number_of("/proc/sys/net/ipv4/tcp_tw_reuse"),
        perf_paranoid=number_of("/proc/sys/kernel/perf_event_paranoid"),
        kptr_restrict=number_of("/proc/sys/kernel/kptr_restrict"), root=perf.is_root(),
        tools=tools, perf_records=trial.refused, kernel_named=trial.kernel_named,
        tracepoints=missing or perf.trial_of_tracepoints(), d3=(root / D3).exists(),
        container=in_container(), perfmon=_has_perfmon(carried), carried=carried,
        seccomp=_status("Seccomp") != "0",
        tracefs=_tracefs(), siblings=server != client and client in cpus.siblings(server),
        governors=cpus.governors((server, client)), quota=cpus.quota(),
        uncounted=_uncounted(usable), io_uring=io_uring.refusal())
