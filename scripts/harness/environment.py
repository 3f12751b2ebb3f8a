"""Checks whether this machine can run the study, and describes it for the manifest."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import cpus, perf, syscalls
from harness.facts import TOOLS, Facts, gather, raise_file_limit
from harness.process import NOT_STARTED, number_of, run, text_of

SPARE_FILES = 100  # descriptors that a process needs beside its connections
SPARE_PORTS = 100
GOOD_SOMAXCONN = 4096  # the server's --backlog
MIN_PYTHON = (3, 11)
UNKNOWN = "this machine does not say"
PARANOID_FOR_USERS = 1  # kernel.perf_event_paranoid up to which users may record the kernel
LEAST_QUOTA = 2  # cores' time: one for the server and one for the load
# Checks that run reports too when they fail, as notes: each of them changes figures or names.
NOTED = ("kptr_restrict", "somaxconn", "TIME_WAIT", "core siblings", "frequency governor",
         "CPU quota", "kernel counters")

__all__ = ["Check", "Facts", "check_files", "check_perf", "check_tool", "checks", "fingerprint",
           "gather", "raise_file_limit"]


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    must: bool
    detail: str
    fix: str

    def line(self) -> str:
        if self.ok:
            return f"{self.name}: {self.detail}"
        return f"{self.name}: {self.detail}; fix: {self.fix}"


def check_files(limit: int, connections: int) -> Check:
    need = connections + SPARE_FILES
    return Check("descriptors", limit >= need, True,
                 f"{limit} per process, {connections} connections need {need}",
                 f"ulimit -Hn {need} as root before you start (containers: --ulimit nofile={need}),"
                 f" or fewer --connections")


def check_ports(facts: Facts, connections: int) -> Check:
    if facts.port_range is None:
        return Check("port range", True, True, UNKNOWN, "")
    first, last = facts.port_range
    return Check("port range", last - first + 1 >= connections + SPARE_PORTS, True,
                 f"{first}-{last}, {last - first + 1} ports for {connections} connections",
                 _net_sysctl(facts, "ipv4.ip_local_port_range", '"1024 65535"'))


def check_time_wait(facts: Facts, connections: int) -> Check:
    if None in (facts.port_range, facts.time_wait, facts.tw_reuse):
        return Check("TIME_WAIT", True, False, UNKNOWN, "")
    free = facts.port_range[1] - facts.port_range[0] + 1 - facts.time_wait
    return Check("TIME_WAIT", facts.tw_reuse > 0 or free >= connections, False,
                 f"{facts.time_wait} sockets, tcp_tw_reuse is {facts.tw_reuse}",
                 f"{_net_sysctl(facts, 'ipv4.tcp_tw_reuse', '2')}, or wait a minute")


def check_tool(name: str) -> Check:
    return _tool({name: shutil.which(name)}, name, True)


def _tool(tools: dict[str, str | None], name: str, must: bool) -> Check:
    path = tools.get(name)
    return Check(name, path is not None, must, path or "not found on PATH",
                 f"apt-get install {TOOLS[name]} (or scripts/setup)")


def _shown(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _perf_checks(facts: Facts, must: bool) -> list[Check]:
    found = [_tool(facts.tools, "perf", must)]
    if not found[0].ok:
        return found
    paranoid, kptr = facts.perf_paranoid, facts.kptr_restrict
    trusted = facts.root or facts.perfmon or paranoid is None or paranoid <= PARANOID_FOR_USERS
    symbols = facts.kernel_named and (kptr in (None, 0) or (facts.root and kptr <= 1))
    return found + [
        Check("perf_event_paranoid", trusted or not facts.perf_records, False, _shown(paranoid),
              _sysctl(facts, "perf_event_paranoid", PARANOID_FOR_USERS)),
        Check("kptr_restrict", symbols, False, _shown(kptr),
              f"{_names_fix(facts)}, or functions of the kernel have no names in profiles"),
        Check("perf record", not facts.perf_records, must,
              facts.perf_records or f"records {perf.EVENT}",
              f"{_joined(_perf_fixes(facts))}, or --no-profile"),
        Check("perf tracepoints", not facts.tracepoints, False,
              f"system calls are not counted: {facts.tracepoints}" if facts.tracepoints
              else "counts system calls", _joined(_tracepoint_fixes(facts))),
    ]


def _names_fix(facts: Facts) -> str:
    """The kernel tells its names to users where both settings are low."""
    if facts.kptr_restrict:
        return _sysctl(facts, "kptr_restrict", 0)
    return _sysctl(facts, "perf_event_paranoid", PARANOID_FOR_USERS)


def check_perf(facts: Facts) -> Check | None:
    """What keeps perf from recording; None where nothing does."""
    return next((each for each in _perf_checks(facts, True) if each.must and not each.ok), None)


def _joined(fixes: list[str]) -> str:
    return " and ".join(fixes) or "nothing that this program knows of"


def _as_root(facts: Facts) -> str:
    """Who may change a setting that all containers of a kernel share."""
    return "as root on the container's host" if facts.container else "as root"


def _sysctl(facts: Facts, name: str, value: int) -> str:
    return f"sysctl -w kernel.{name}={value} {_as_root(facts)}"


def _net_sysctl(facts: Facts, name: str, value: str) -> str:
    """How to set a sysctl of the network namespace, which a container has for itself."""
    if facts.container:
        return f"start the container with --sysctl net.{name}={value}"
    return f"sysctl -w net.{name}={value} as root"


def _perf_fixes(facts: Facts) -> list[str]:
    """Everything that is still needed before perf can record here."""
    if os.strerror(errno.ENOSPC) in facts.perf_records:
        return ["set TMPDIR to a folder with room"]
    if "not found for kernel" in facts.perf_records:  # what Ubuntu's /usr/bin/perf says
        return ["apt-get install linux-tools-$(uname -r)"]
    closed = (facts.perf_paranoid or 0) > PARANOID_FOR_USERS and not facts.perfmon
    flags = []
    if facts.container:
        if (facts.root or facts.carried) and not facts.perfmon:
            flags, closed = ["--cap-add PERFMON"], False
        if facts.seccomp and facts.perf_records != perf.USER_MODE_ONLY:
            flags.append("--security-opt seccomp=unconfined")
    found = [f"start the container with {' '.join(flags)}"] if flags else []
    if closed:
        found.append(_sysctl(facts, "perf_event_paranoid", PARANOID_FOR_USERS))
    if found:
        return found
    if facts.seccomp and not facts.container:
        return ["run it outside of the sandbox (seccomp) that forbids it"]
    if facts.root or facts.perfmon:
        return ["run it outside of the container"] if facts.container else []
    return ["run as root"]


def _tracepoint_fixes(facts: Facts) -> list[str]:
    """What is needed before perf can count system calls.

    Only root may read the tracepoints, or the group that owns the mount.
    """
    if facts.perf_records:
        return ["what lets perf record"]
    group = "" if facts.root else f"gid={os.getgid()},mode=750"
    if facts.tracefs == "unreadable":
        options = "remount" + (f",{group}" if group else "")
        return [f"mount -o {options} {perf.TRACING} {_as_root(facts)}"]
    if facts.tracefs and facts.container:
        return [f"start the container with -v {perf.TRACING}:{perf.TRACING}:ro"]
    if facts.tracefs:
        return [f"mount -t tracefs{f' -o {group}' if group else ''} tracefs {perf.TRACING} as root"]
    return [] if facts.root else ["run as root"]


def _core_checks(facts: Facts) -> list[Check]:
    """What makes the two cores slower than they look."""
    server, client = cpus.pair(facts.cores)
    slow = {cpu: name for cpu, name in facts.governors.items() if name != "performance"}
    named = ", ".join(f"{name} on core {cpu}" for cpu, name in facts.governors.items())
    return [
        Check("core siblings", not facts.siblings, False,
              f"cores {server} and {client} are two threads of one core: the load slows the server"
              if facts.siblings else f"server on core {server}, load on core {client}",
              "run on two whole cores (taskset -c, --cpuset-cpus, or turn off SMT)"),
        Check("frequency governor", not slow, False, named or "none is seen",
              f"cpupower frequency-set -g performance {_as_root(facts)}"),
        Check("CPU quota", facts.quota is None or facts.quota >= LEAST_QUOTA, False,
              "none" if facts.quota is None else f"{facts.quota:g} cores' time",
              f"allow {LEAST_QUOTA} cores' time or more (containers: --cpus, systemd: CPUQuota=)"),
        Check("kernel counters", not facts.uncounted, False,
              f"absent: {', '.join(facts.uncounted)}" if facts.uncounted else "complete",
              "none is needed; these figures are left out, and no gate judges them"),
    ]


def _check_io_uring(facts: Facts, must: bool) -> Check:
    refused = facts.io_uring
    return Check("io_uring", refused is None, must, f"not available: {refused.why}" if refused
                 else "may be used", f"{_io_uring_fix(facts)}, or --io epoll" if refused else "")


def _io_uring_fix(facts: Facts) -> str:
    outside = ("start the container with --security-opt seccomp=unconfined" if facts.container
               else "run it outside of the sandbox that forbids it")
    newer = "boot Linux 6.1 or newer"
    return {"sysctl": _sysctl(facts, "io_uring_disabled", 0), "sandbox": outside,
            "absent": f"{outside}, or {newer}", "kernel": newer,
            "memory": "ulimit -Hl unlimited as root before you start (containers: --ulimit "
                      "memlock=-1)"}.get(facts.io_uring.fix, _joined([]))


def checks(facts: Facts, connections: int, profile: bool = True, report: bool = True,
           ring: bool = False) -> list[Check]:
    """Every check. The requested work needs those whose `must` is true."""
    python = ".".join(map(str, facts.python))
    return [
        Check("python", facts.python >= MIN_PYTHON, True, python, "apt-get install python3"),
        Check("cores", len(facts.cores) >= 2, True,
              f"{len(facts.cores)} usable, one is for the server and one for the load",
              "run on two cores (containers: --cpuset-cpus 0,1)"),
        *_core_checks(facts),
        check_files(facts.nofile, connections),
        check_ports(facts, connections),
        check_time_wait(facts, connections),
        Check("somaxconn", facts.somaxconn is None or facts.somaxconn >= GOOD_SOMAXCONN, False,
              _shown(facts.somaxconn),
              _net_sysctl(facts, "core.somaxconn", str(GOOD_SOMAXCONN))),
        _tool(facts.tools, "wrk", True),
        *_perf_checks(facts, profile),
        _check_io_uring(facts, ring),
        *(_tool(facts.tools, name, False) for name in ("cmake", "ninja", "node", "npm")),
        _check_charts(facts, report),
    ]


def checks_of_control(facts: Facts, report: bool) -> list[Check]:
    """Those of a machine from which others are measured."""
    python = ".".join(map(str, facts.python))
    return [
        Check("python", facts.python >= MIN_PYTHON, True, python, "apt-get install python3"),
        _tool(facts.tools, "ssh", True), _check_charts(facts, report)]


def _check_charts(facts: Facts, must: bool) -> Check:
    return Check("report's charts", facts.d3, must, "d3-flame-graph is " + (
        "installed" if facts.d3 else "not installed"), "scripts/setup, or --no-report")


def _first_line(argv: list[str]) -> str | None:
    code, out, error = run(argv, 10)
    return ((out + error).strip().splitlines() or [None])[0] if code != NOT_STARTED else None


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", text_of("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _virtualisation() -> str:
    found = _first_line(["systemd-detect-virt", "--vm"])
    if found:
        return found
    guest = re.search(r"\bhypervisor\b", text_of("/proc/cpuinfo"))
    return "virtual machine" if guest else "none seen"


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:  # a machine without that file
        return "Linux"


def compiler(binary: Path) -> str | None:
    """The compiler named in the CMake cache of the folder the binary was built in."""
    for folder in binary.resolve().parents:
        if text := text_of(folder / "CMakeCache.txt"):
            found = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", text, re.MULTILINE)
            return _first_line([found[1], "--version"]) if found else None
    return None


def fingerprint(facts: Facts, binary: Path) -> dict:
    """The environment as the manifest keeps it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    server, client = cpus.pair(facts.cores)
    wrk = _first_line(["wrk", "-v"])
    return {
        "cpu": _cpu_model(), "cores": len(facts.cores), "memory_gib": round(memory, 1),
        "virt": _virtualisation(), "kernel": platform.release(), "os": _os_name(),
        "mitigations": cpus.mitigations(),
        "somaxconn": facts.somaxconn, "port_range": facts.port_range and list(facts.port_range),
        "nofile": facts.nofile, "aslr": number_of("/proc/sys/kernel/randomize_va_space"),
        "perf_paranoid": facts.perf_paranoid, "pinning": {"server": server, "client": client},
        "perf_core": cpus.of_perf(facts.cores),
        "siblings": facts.siblings, "quota": facts.quota or "none",
        "uncounted": facts.uncounted, "syscall_ns": syscalls.cost_ns(server),
        "page_table_isolation": syscalls.isolation(),
        "governor": ", ".join(sorted(set(facts.governors.values()))) or None,
        "tools": {"wrk": wrk.partition(" Copyright")[0] if wrk else None,
                  "perf": _first_line(["perf", "--version"]), "compiler": compiler(binary),
                  "python": platform.python_version()},
    }
