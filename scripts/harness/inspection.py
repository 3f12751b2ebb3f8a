"""What another host is, and what keeps it from taking part in a study."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from harness import cpus, syscalls
from harness.environment import SPARE_FILES, SPARE_PORTS
from harness.process import HostTimes, text_of

SERVER, CLIENT = "server", "client"
CLOCK_LIMIT_S = 1.0
NEEDED = ("taskset", "timeout", "head", "stat", "mktemp")  # of util-linux and coreutils
_SYS = "/sys/devices/system/cpu"
_KERNEL = "/proc/sys/kernel"
_NET = "/proc/sys/net"
# In the language of host.sh. The folders of control groups are those of version 2.
SCRIPT = rf"""
say hard bash -c 'ulimit -Hn'
lacking() {{ for each; do command -v "$each" >/dev/null || echo "$each"; done; }}
virtual() {{
    systemd-detect-virt --vm 2>/dev/null ||
        grep -qw hypervisor /proc/cpuinfo && echo "virtual machine"
}}
say missing lacking {" ".join(NEEDED)}
say wrk bash -c 'command -v wrk >/dev/null && wrk -v | head -n 1'
say perf bash -c 'command -v perf >/dev/null && perf --version'
say uname uname -srm
say uid id -u
say cores getconf _NPROCESSORS_ONLN
say connection printenv SSH_CONNECTION
say machine bash -c 'cat {_KERNEL}/random/boot_id; readlink /proc/self/ns/net'
say study bash -c 'grep -c "@idlewheel-study$" /proc/net/unix'
say calls bash -c 'ls /sys/kernel/tracing/events/syscalls | sed -n s/^sys_enter_//p'
say model bash -c 'grep -m 1 "^model name" /proc/cpuinfo || uname -m'
say flags grep -m 1 '^flags' /proc/cpuinfo
say virt virtual
show /etc/os-release /proc/meminfo /proc/self/status /proc/stat /proc/pressure/cpu
show /proc/self/cgroup /proc/self/mountinfo
show {_NET}/ipv4/ip_local_port_range {_NET}/core/somaxconn
show {_KERNEL}/randomize_va_space {_KERNEL}/perf_event_paranoid {_KERNEL}/perf_event_mlock_kb
show {_SYS}/vulnerabilities/* {_SYS}/cpu*/topology/core_cpus_list
show {_SYS}/cpu*/topology/thread_siblings_list {_SYS}/cpu*/cpufreq/scaling_governor
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
while [ ${{#group}} -ge 14 ]; do show "$group/cpu.max"; group=${{group%/*}}; done
"""


@dataclass(frozen=True)
class Clock:
    """How far another host's clock is ahead, and how exactly that is known."""

    ahead_s: float
    give_or_take_s: float

    @staticmethod
    def compared(before_s: float, there_s: float, after_s: float) -> Clock:
        """It was read there at some moment between our two readings."""
        return Clock(there_s - (before_s + after_s) / 2, (after_s - before_s) / 2)

    @property
    def apart_s(self) -> float:
        """At least so far."""
        return max(0.0, abs(self.ahead_s) - self.give_or_take_s)


@dataclass(frozen=True)
class Host:
    """A host by name, as what SCRIPT said about it."""

    name: str
    role: str
    said: dict[str, str]
    clock: Clock

    @property
    def machine(self) -> str:
        """Its kernel and its network, which two names of one machine share."""
        return self.said.get("machine", "").strip()

    def word(self, name: str) -> str:
        return (self.said.get(name, "").strip().splitlines() or [""])[0]

    def number(self, name: str) -> int | None:
        text = self.word(name)
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    @property
    def files(self) -> int:
        """Descriptors that a process may have."""
        return self.number("hard") or 2**31

    @property
    def ports(self) -> list[int] | None:
        found = self.word(f"{_NET}/ipv4/ip_local_port_range").split()
        return [int(n) for n in found] if len(found) == 2 else None

    @property
    def cores(self) -> list[int]:
        found = re.search(r"^Cpus_allowed_list:\s*(\S+)", self.said.get("/proc/self/status", ""),
                          re.MULTILINE)
        return sorted(cpus.numbers(found[1] if found else "0"))

    @property
    def wrk(self) -> str:
        return self.word("wrk").partition(" Copyright")[0]

    @property
    def kernel(self) -> str:
        return " ".join(self.word("uname").split()[:2])

    @property
    def model(self) -> str:
        return self.word("model").partition(":")[2].strip() or self.word("model")

    @property
    def own_address(self) -> str:
        """The address of it that ssh has reached."""
        found = self.word("connection").split()
        return found[2] if len(found) == 4 else ""

    @property
    def calls(self) -> list[str]:
        return self.said.get("calls", "").split()

    def tree(self) -> tempfile.TemporaryDirectory:
        """The files of its kernel that were read, for functions that take another root than /."""
        folder = tempfile.TemporaryDirectory(prefix="idlewheel-host-")
        for name, text in self.said.items():
            if name.startswith("/"):
                path = Path(folder.name, name.lstrip("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        return folder

    def words(self) -> str:
        """For the manifest and the report."""
        tool = f", {self.wrk}" if self.role == CLIENT else ""
        return f"{self.model}, {len(self.cores)} cores, {self.kernel}{tool}"


def this_machine() -> str:
    """As the machine of a Host: where it is this one, the study that runs there is our own."""
    return f"{text_of(f'{_KERNEL}/random/boot_id')}\n{os.readlink('/proc/self/ns/net')}"


def faults(hosts: list[Host], connections: dict[str, int]) -> list[tuple[str, str]]:
    """Host and fault, for all of them. connections: how many each has to carry at most."""
    found = [(host.name, fault) for host in hosts
             for fault in _faults(host, connections[host.name])]
    return found + _twice(hosts) + _other_versions([h for h in hosts if h.role == CLIENT and h.wrk])


def _faults(host: Host, connections: int) -> list[str]:
    found = [f"{name} is not installed; fix: install util-linux and coreutils"
             for name in host.said.get("missing", "").split()]
    if host.files < connections + SPARE_FILES:
        found.append(f"{host.files} descriptors per process, {connections} connections need "
                     f"{connections + SPARE_FILES}; fix: raise the hard limit of ssh's log-ins "
                     "(/etc/security/limits.conf)")
    if host.clock.apart_s > CLOCK_LIMIT_S:
        found.append(f"its clock is {abs(host.clock.ahead_s):.1f} s "
                     f"{'ahead of' if host.clock.ahead_s > 0 else 'behind'} this machine's, and the "
                     f"limit is {CLOCK_LIMIT_S:g} s; fix: synchronise it (chrony, systemd-timesyncd)")
    if (host.number("study") or 0) > 0 and host.machine != this_machine():
        found.append("another study is running there; fix: wait for it, or end it")
    if host.role == SERVER:
        return found
    if not host.wrk:
        found.append("wrk is not installed; fix: apt-get install wrk")
    if host.ports and host.ports[1] - host.ports[0] + 1 < connections + SPARE_PORTS:
        found.append(f"ports {host.ports[0]}-{host.ports[1]} are too few for {connections} "
                     'connections; fix: sysctl -w net.ipv4.ip_local_port_range="1024 65535" as root')
    return found


def _twice(hosts: list[Host]) -> list[tuple[str, str]]:
    """One machine under two names would get two parts of the load, or serve and load."""
    first: dict[str, str] = {}
    found = []
    for host in hosts:
        if host.machine and host.machine in first:
            found.append((host.name,
                          f"is the same machine as {first[host.machine]}; fix: name it once"))
        first.setdefault(host.machine, host.name)
    return found


def _other_versions(clients: list[Host]) -> list[tuple[str, str]]:
    """Versions of wrk correct their latencies differently, so they must not be added up."""
    usual = Counter(_number(host.wrk) for host in clients).most_common(1)
    return [(host.name, f"has {host.wrk}, most hosts have {usual[0][0]}; fix: one version everywhere")
            for host in clients if _number(host.wrk) != usual[0][0]]


def _number(version: str) -> str:
    """4.1.0 of "wrk debian/4.1.0-3+b2 [epoll]"."""
    found = re.search(r"\d+(\.\d+)+", version)
    return found[0] if found else version


def fingerprint(hosts: list[Host], compiler: str | None, python: str) -> dict:
    """The environment as the manifest keeps it: that of the server's host, and all hosts in words."""
    server = hosts[0]

    def number(name: str) -> int | None:
        return server.number(name)

    with server.tree() as folder:
        root = Path(folder)
        pair = cpus.pair(server.cores, root)
        governors, quota = cpus.governors(pair, root), cpus.quota(root)
        return {
            "cpu": server.model, "cores": len(server.cores), "memory_gib": _memory(server),
            "virt": server.word("virt").replace("none", "") or "none seen",
            "kernel": server.kernel.rpartition(" ")[2],
            "os": _os(server), "mitigations": cpus.mitigations(root),
            "somaxconn": number(f"{_NET}/core/somaxconn"), "port_range": server.ports,
            "nofile": server.files, "aslr": number(f"{_KERNEL}/randomize_va_space"),
            "perf_paranoid": number(f"{_KERNEL}/perf_event_paranoid"),
            "pinning": {"server": pair[0], "client": "other hosts"},
            "siblings": False, "quota": quota or "none", "uncounted": _uncounted(server),
            "syscall_ns": None, "page_table_isolation": syscalls.isolation_of(
                server.said.get(f"{_SYS}/vulnerabilities/meltdown", ""), server.word("flags")),
            "governor": ", ".join(sorted(set(governors.values()))) or None,
            "tools": {"wrk": next(h.wrk for h in hosts if h.role == CLIENT),
                      "perf": server.word("perf") or None, "compiler": compiler, "python": python},
            "hosts": {f"{host.role} {host.name}": host.words() for host in hosts},
        }


def _memory(host: Host) -> float | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", host.said.get("/proc/meminfo", ""), re.MULTILINE)
    return round(int(found[1]) / 2**20, 1) if found else None


def _os(host: Host) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', host.said.get("/etc/os-release", ""), re.MULTILINE)
    return found[1] if found else "Linux"


def _uncounted(host: Host) -> list[str]:
    found = HostTimes.of(host.said.get("/proc/stat", ""), host.said.get("/proc/pressure/cpu", ""),
                         set(host.cores))
    return [words for words, known in (
        ("CPU time of other programs", bool(found.core_busy_s)),
        ("steal", found.steal_s is not None),
        ("how busy the server's core is", bool(found.core_busy_s)),
        ("pressure", found.psi_some_s is not None)) if not known]
