"""Fixture of a test: hosts that are network namespaces of this machine, with an sshd in each.

All of them are children of the test and vanish with it: nothing of the machine's own network changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = {"server": 10, "one": 11, "two": 12, "three": 13}  # and the last part of the address
NET4, NET6 = "10.77.0.", "fd77::"
LIMIT_S = 20
WITH_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin"
SSHD = """ListenAddress 0.0.0.0
ListenAddress ::
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
AcceptEnv *
"""
# A host has its own /tmp, so that what is left there can be seen, no settings of the user's shell,
# and the user that sshd wants.
HOST = """set -e
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs ~root
mkdir /run/sshd
grep -q ^sshd: /etc/passwd || {
    { cat /etc/passwd; echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin'; } >/run/passwd
    mount --bind /run/passwd /etc/passwd
}
ip link set lo up
echo ready
exec sleep 600
"""
TRIAL = """mount -t tmpfs tmpfs /tmp &&
ip link add hub type bridge && ip link add cable type veth peer name eth0
"""
HUB = """set -e
ip link set lo up
ip link add hub type bridge
ip address add {net4}1/24 dev hub
ip address add {net6}1/64 dev hub nodad
ip link set hub up
echo ready
exec sleep 600
"""


def sshd() -> str | None:
    """scripts/setup takes sshd out of its package, because the package starts a service."""
    ours = Path(__file__).resolve().parents[2] / "build/tools/sshd"
    return shutil.which("sshd", path=WITH_SBIN) or (
        str(ours) if ours.exists() else None)


def refusal() -> str:
    """Why there can be no such hosts; empty when there can."""
    missing = [name for name in ("ssh", "ip", "wrk") if not shutil.which(name, path=WITH_SBIN)]
    missing += [] if sshd() else ["sshd"]
    if missing:
        return f"needs {', '.join(missing)} (scripts/setup installs them)"
    if os.geteuid() != 0:
        return "a network namespace is not available: it needs root"
    tried = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", TRIAL],
                           capture_output=True, text=True)
    if tried.returncode:
        return "a network namespace is not available: " + tried.stderr.strip().splitlines()[-1]
    return ""


class Hosts:
    """Names of NAMES, reached from `inside` by addresses of NET4 and NET6."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen] = []
        self._networks: list[str] = []
        # Not in /tmp, which is another one on the hosts.
        self._scratch = tempfile.TemporaryDirectory(prefix="idlewheel-hosts-", dir="/var/tmp")
        self.folder = Path(self._scratch.name)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        for name in ("host", "user"):
            self._done("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        shutil.copy(sshd(), self.folder / "sshd")  # it may lie in a folder that the hosts do not see
        (self.folder / "sshd_config").write_text(SSHD.format(folder=self.folder))
        key = (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"{NET4}* {key}{NET6}* {key}")
        self._hub = self._namespace(HUB.format(net4=NET4, net6=NET6))
        self.hosts = {name: self._namespace(HOST) for name in NAMES}
        for name, number in NAMES.items():
            self._join(name, number)
        self._sshds = {name: subprocess.Popen(
            [*self._enter(pid), self.folder / "sshd", "-D", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for name, pid in self.hosts.items()}
        self._processes += self._sshds.values()
        for name in NAMES:
            self._await_ssh(name)

    def _namespace(self, script: str) -> int:
        """The process that holds it; it ends with the test."""
        made = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--propagation",
             "private", "sh", "-c", script],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self._processes.append(made)
        if made.stdout.readline() != "ready\n":
            raise OSError("no network namespace")
        network = os.readlink(f"/proc/{made.pid}/ns/net")
        if network == os.readlink("/proc/self/ns/net"):
            raise OSError("no network namespace of its own")
        self._networks.append(network)
        return made.pid

    def _join(self, name: str, number: int) -> None:
        """A cable from the hub to the host."""
        pid = self.hosts[name]
        self.inside("ip", "link", "add", name, "type", "veth",
                    "peer", "name", "eth0", "netns", str(pid))
        self.inside("ip", "link", "set", name, "master", "hub", "up")
        for words in (f"address add {NET4}{number}/24 dev eth0",
                      f"address add {NET6}{number}/64 dev eth0 nodad", "link set eth0 up"):
            self.on(name, "ip", *words.split())

    def _await_ssh(self, name: str) -> None:
        limit = time.monotonic() + LIMIT_S
        asked = ["bash", "-c", f"exec 3<>/dev/tcp/{self.address(name)}/22"]
        while subprocess.run([*self._enter(self._hub), *asked], capture_output=True).returncode:
            if time.monotonic() > limit:
                raise OSError(f"no sshd on {name}")
            time.sleep(0.02)

    def address(self, name: str) -> str:
        return f"{NET4}{NAMES[name]}"

    def address6(self, name: str) -> str:
        return f"{NET6}{NAMES[name]}"

    def ssh_flags(self) -> list[str]:
        """For scripts/study: the keys of these hosts, and none of the user's."""
        options = {"UserKnownHostsFile": self.folder / "known_hosts",
                   "IdentityFile": self.folder / "user", "IdentitiesOnly": "yes", "GlobalKnownHostsFile": "/dev/null"}
        return [f"--ssh-option={name}={value}" for name, value in options.items()]

    def inside(self, *argv: str) -> str:
        """Run where all hosts can be reached; what it printed."""
        return self._done(*self._enter(self._hub), *argv)

    def start(self, *argv: str) -> subprocess.Popen:
        """The same, left running."""
        return subprocess.Popen([*self._enter(self._hub), *argv], stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def on(self, name: str, *argv: str) -> str:
        return self._done(*self._enter(self.hosts[name]), *argv)

    def limit_files(self, name: str, files: int) -> None:
        """Descriptors of those who log in from now on."""
        self._done("prlimit", f"--nofile={files}:{files}", "--pid", self._sshds[name].pid)

    def unplug(self, name: str) -> None:
        self.inside("ip", "link", "set", name, "down")

    def plug_in(self, name: str) -> None:
        self.inside("ip", "link", "set", name, "up")

    def running(self, name: str) -> list[str]:
        """Programs of ours on a host, by command line."""
        found = self._on_network(os.readlink(f"/proc/{self.hosts[name]}/ns/net")).values()
        return [text for text in found if any(
            word in text for word in ("wrk ", "idlewheel-server", "bash -s", "perf "))]

    @staticmethod
    def _on_network(wanted: str) -> dict[int, str]:
        """The processes that have this network, and their command lines."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns/net") == wanted:
                    text = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = text.decode(errors="replace")
        return found

    def left(self, name: str) -> list[str]:
        """Files of ours in the temporary folder of a host."""
        return self.on(name, "find", "/tmp", "-mindepth", "1", "-maxdepth", "1").split()

    def close(self) -> None:
        """An sshd that serves a host without a network would stay for hours."""
        for network in self._networks:
            for pid in self._on_network(network):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for each in self._processes:
            each.kill()
        for each in self._processes:
            each.wait()
            if each.stdout:
                each.stdout.close()
        self._scratch.cleanup()

    @staticmethod
    def _enter(pid: int) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", "--target", str(pid), "--net", "--mount"]

    @staticmethod
    def _done(*argv: object) -> str:
        ended = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=LIMIT_S,
                               stdin=subprocess.DEVNULL)
        if ended.returncode:
            raise OSError(f"{' '.join(map(str, argv))}: {ended.stderr.strip()}")
        return ended.stdout
