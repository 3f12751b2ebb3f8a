"""What this machine is, and whether it can run the study: facts first, then checks on them."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness import perf
from harness.process import run

SPARE_FILES = 100  # descriptors that a process needs beside its connections
SPARE_PORTS = 100
GOOD_SOMAXCONN = 4096  # the server's --backlog
MIN_PYTHON = (3, 11)
TOOLS = {"wrk": "wrk", "perf": "linux-perf", "cmake": "cmake", "ninja": "ninja-build",
         "node": "nodejs", "npm": "npm"}
D3 = Path("scripts/report/node_modules/d3-flame-graph/dist/d3-flamegraph.min.js")


@dataclass(frozen=True)
class Facts:
    """Everything the checks look at, so that tests can invent a machine."""

    python: tuple[int, int]
    cores: list[int]
    nofile: int
    somaxconn: int
    port_range: tuple[int, int]
    time_wait: int
    tw_reuse: int
    perf_paranoid: int
    kptr_restrict: int
    root: bool
    tools: dict[str, str | None]
    perf_records: str  # why perf cannot record; empty when it can
    tracepoints: str
    d3: bool


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


def raise_file_limit() -> int:
    """Raise the soft descriptor limit to the hard one, for children too; the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def _number(path: str, default: int = -1) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return default


def _port_range() -> tuple[int, int]:
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(first), int(last)


def _time_wait() -> int:
    found = re.search(r"^TCP:.* tw (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def try_record() -> str:
    """Record cpu-clock for a moment; why that does not work, or nothing."""
    spin = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
    with tempfile.TemporaryDirectory(prefix="idlewheel-doctor-") as folder:
        data = str(Path(folder) / "perf.data")
        walk, frequency = perf.WALKS["frame pointers"]
        code, _, error = run(["perf", "record", "-e", perf.EVENT, "-F", str(frequency),
                              "--call-graph", walk, "-o", data, "--", "sh", "-c", spin], 20)
        if code:
            return (error.strip().splitlines() or ["perf record failed"])[0]
        code, text, _ = run(["perf", "script", "-i", data, "-F", "ip"], 20)
        return "" if code == 0 and text.strip() else "perf recorded no stacks"


def try_tracepoints() -> str:
    code, _, error = run(["perf", "stat", "-x", ",", "-e", perf.TOTAL, "true"], 20)
    if code:
        return "perf cannot count system calls"
    return "" if perf.parse_stat(error).get(perf.TOTAL) else "perf counted no system calls"


def gather(root: Path) -> Facts:
    tools = {name: shutil.which(name) for name in TOOLS}
    missing = "" if tools["perf"] else "perf is not installed"
    return Facts(
        python=sys.version_info[:2], cores=usable_cores(),
        nofile=raise_file_limit(), somaxconn=_number("/proc/sys/net/core/somaxconn"),
        port_range=_port_range(), time_wait=_time_wait(),
        tw_reuse=_number("/proc/sys/net/ipv4/tcp_tw_reuse"),
        perf_paranoid=_number("/proc/sys/kernel/perf_event_paranoid"),
        kptr_restrict=_number("/proc/sys/kernel/kptr_restrict"), root=os.geteuid() == 0,
        tools=tools, perf_records=missing or try_record(),
        tracepoints=missing or try_tracepoints(), d3=(root / D3).exists())


def check_files(limit: int, connections: int) -> Check:
    need = connections + SPARE_FILES
    return Check("descriptors", limit >= need, True,
                 f"{limit} per process, {connections} connections need {need}",
                 f"ulimit -Hn {need} as root before you start (containers: --ulimit nofile={need}),"
                 f" or fewer --connections")


def check_ports(facts: Facts, connections: int) -> Check:
    first, last = facts.port_range
    return Check("port range", last - first + 1 >= connections + SPARE_PORTS, True,
                 f"{first}-{last}, {last - first + 1} ports for {connections} connections",
                 'sysctl -w net.ipv4.ip_local_port_range="1024 65535"')


def check_time_wait(facts: Facts, connections: int) -> Check:
    free = facts.port_range[1] - facts.port_range[0] + 1 - facts.time_wait
    return Check("TIME_WAIT", facts.tw_reuse > 0 or free >= connections, False,
                 f"{facts.time_wait} sockets, tcp_tw_reuse is {facts.tw_reuse}",
                 "sysctl -w net.ipv4.tcp_tw_reuse=2, or wait a minute")


def check_tool(name: str) -> Check:
    return _tool({name: shutil.which(name)}, name, True)


def _tool(tools: dict[str, str | None], name: str, must: bool) -> Check:
    path = tools.get(name)
    return Check(name, path is not None, must, path or "not found on PATH",
                 f"apt-get install {TOOLS[name]} (or scripts/setup)")


def _perf_checks(facts: Facts, must: bool) -> list[Check]:
    trusted = facts.root or facts.perf_paranoid <= 1
    symbols = facts.kptr_restrict == 0 or (facts.root and facts.kptr_restrict <= 1)
    paranoid = "sysctl -w kernel.perf_event_paranoid=-1 kernel.kptr_restrict=0"
    return [
        _tool(facts.tools, "perf", must),
        Check("perf_event_paranoid", trusted, False, str(facts.perf_paranoid), paranoid),
        Check("kptr_restrict", symbols, False, str(facts.kptr_restrict),
              "sysctl -w kernel.kptr_restrict=0, or kernel frames have no names"),
        Check("perf record", not facts.perf_records, must,
              facts.perf_records or f"records {perf.EVENT}", f"{paranoid}, or --no-profile"),
        Check("perf tracepoints", not facts.tracepoints, must,
              facts.tracepoints or "counts system calls", f"{paranoid}, or --no-profile"),
    ]


def checks(facts: Facts, connections: int, profile: bool = True, report: bool = True
           ) -> list[Check]:
    """Every check. The work that was asked for cannot do without those whose must is true."""
    python = ".".join(map(str, facts.python))
    return [
        Check("python", facts.python >= MIN_PYTHON, True, python, "apt-get install python3"),
        Check("cores", len(facts.cores) >= 2, True,
              f"{len(facts.cores)} usable, one is for the server and one for the load",
              "run on two cores (containers: --cpus 2)"),
        check_files(facts.nofile, connections),
        check_ports(facts, connections),
        check_time_wait(facts, connections),
        Check("somaxconn", facts.somaxconn >= GOOD_SOMAXCONN, False, str(facts.somaxconn),
              f"sysctl -w net.core.somaxconn={GOOD_SOMAXCONN}"),
        _tool(facts.tools, "wrk", True),
        *_perf_checks(facts, profile),
        *(_tool(facts.tools, name, False) for name in ("cmake", "ninja", "node", "npm")),
        Check("report's charts", facts.d3, report, "d3-flame-graph is " + (
            "installed" if facts.d3 else "not installed"), "scripts/setup, or --no-report"),
    ]


def usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def cores(usable: list[int]) -> tuple[int, int]:
    """The server's core and the client's: not two threads of one core, where there is a choice."""
    server, twins = usable[0], _siblings(usable[0])
    others = [c for c in usable[1:] if c not in twins] or usable[1:] or usable
    return server, others[0]


def _siblings(cpu: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        parts = [p.split("-") for p in path.read_text().strip().split(",")]
    except OSError:
        return {cpu}
    return {n for p in parts for n in range(int(p[0]), int(p[-1]) + 1)}


def _first_line(argv: list[str]) -> str | None:
    code, out, error = run(argv, 10)
    return ((out + error).strip().splitlines() or [None])[0] if code != 127 else None


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _virtualisation() -> str:
    found = _first_line(["systemd-detect-virt", "--vm"])
    if found:
        return found
    guest = re.search(r"\bhypervisor\b", Path("/proc/cpuinfo").read_text())
    return "virtual machine" if guest else "none seen"


def _os_name() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _compiler(binary: Path) -> str | None:
    """The compiler named in the CMake cache of the folder the binary was built in."""
    for folder in binary.resolve().parents:
        cache = folder / "CMakeCache.txt"
        if cache.exists():
            found = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache.read_text(), re.MULTILINE)
            return _first_line([found[1], "--version"]) if found else None
    return None


def fingerprint(facts: Facts, binary: Path) -> dict:
    """The environment as the manifest keeps it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    server, client = cores(facts.cores)
    wrk = _first_line(["wrk", "-v"])
    return {
        "cpu": _cpu_model(), "cores": len(facts.cores), "memory_gib": round(memory, 1),
        "virt": _virtualisation(), "kernel": platform.release(), "os": _os_name(),
        "somaxconn": facts.somaxconn, "port_range": list(facts.port_range),
        "nofile": facts.nofile, "aslr": _number("/proc/sys/kernel/randomize_va_space"),
        "perf_paranoid": facts.perf_paranoid, "pinning": {"server": server, "client": client},
        "tools": {"wrk": wrk.partition(" Copyright")[0] if wrk else None,
                  "perf": _first_line(["perf", "--version"]), "compiler": _compiler(binary),
                  "python": platform.python_version()},
    }
