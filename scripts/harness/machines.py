"""A study on several machines: the server on one host, wrk on others, all reached by ssh.

There has the methods of place.Here. Nothing that is measured needs two clocks to agree: the window is
timed by the server's clock, and latencies are wrk's, each by the clock of its host.
"""

from __future__ import annotations

import platform
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness import cpus, environment, inspection, measured_server, perf, ssh
from harness.addresses import Address
from harness.fleet import HISTOGRAM, Fleet
from harness.inspection import CLIENT, SERVER, Clock, Host
from harness.measured_server import NAME, Binary, Serving
from harness.process import HostTimes, rss_of, sockets_of, ticks_of
from harness.remote_perf import RemoteRecorder, trial, trial_of_tracepoints
from harness.ssh import Connection, Session
from harness.window import Process, Reading, Target
from harness.wrk import Shape
from results.cell import IOS, Cell
from results.errors import Failed, HostLost, cannot

TICKS_PER_S = 100  # of every Linux, as programs see it
CLOCK_TRIES = 3
START_LIMIT_S = 5.0
COPY_LIMIT_S = 300.0
LOST_AT_START = "host {} was lost: {}"


@dataclass(frozen=True)
class Asked:
    """What the flags say about hosts."""

    server: Address
    clients: list[Address]
    ssh_options: list[str]
    address: str | None = None  # that the server listens on; the one that ssh reaches if None
    port: int = 0


class RemoteServer(Serving, Session):
    """The server on its host, ready when constructed."""

    def __init__(self, connection: Connection, cell: Cell, address: str, port: int,
                 cpu: int) -> None:
        argv = measured_server.argv(f"{connection.folder}/{NAME}", cell, address, port)
        super().__init__(connection, argv, cpu)
        self.go()
        self.become_ready(cell)

    def ask(self, url: str) -> tuple[int, bytes]:
        return answer(self._connection.run(asking(url))[1])


class RemoteTarget(Target):
    """A server on another host: one round trip reads everything about it."""

    def __init__(self, server: RemoteServer, connection: Connection, core: int,
                 watched: frozenset[int], usable: set[int], perf_cpu: int) -> None:
        super().__init__(server.url, server.admin_url, server.pid, core, server, watched)
        # perf takes nothing from the watched cores where it has one of its own.
        for name, found in (("_connection", connection), ("_usable", usable),
                            ("_with_perf", perf_cpu in watched)):
            object.__setattr__(self, name, found)  # Target is frozen

    def stats(self) -> dict:
        return self.child.stats()

    def read(self, others: list[int]) -> Reading:
        pids = [self.pid, *(filter(None, others) if self._with_perf else ())]
        files = " ".join(f"/proc/{pid}/stat /proc/{pid}/task/*/schedstat" for pid in pids)
        _, said, _ = self._connection.run(f"say stats {asking(self.admin_url + '/stats')}\n"
                                          f"show /proc/stat /proc/pressure/cpu {files}")
        found = ssh.sections(said)
        stats = measured_server.stats_in(*answer(found.get("stats", "")), self.admin_url)
        used = [process(found, pid) for pid in pids]
        host = HostTimes.of(found.get("/proc/stat", ""), found.get("/proc/pressure/cpu", ""),
                            self._usable)
        return Reading(stats, used[0], sum(each.cpu_s for each in used[1:]), host)

    def rss_kib(self) -> int:
        return rss_of(self._connection.run(f"show /proc/{self.pid}/status")[1])


def asking(url: str) -> str:
    parts = urlsplit(url)
    return shlex.join(["ask", parts.hostname, str(parts.port), parts.path or "/"])


def answer(text: str) -> tuple[int, bytes]:
    """Status and body of what ask() of host.sh printed."""
    head, _, body = text.partition("\r\n\r\n")
    found = re.match(r"HTTP/1\.[01] (\d{3})", head)
    if not found:
        raise Failed("the server gave no answer: " + (text.strip().splitlines() or ["nothing"])[-1])
    return int(found[1]), body.encode()


def process(files: dict[str, str], pid: int) -> Process:
    """CPU time of a process: to the nanosecond where the kernel keeps it for threads."""
    if not (stat := files.get(f"/proc/{pid}/stat")):
        raise Failed(f"process {pid} has ended in the middle of a measurement")
    user, system = ticks_of(stat)
    threads = [text.split()[0] for name, text in files.items()
               if name.startswith(f"/proc/{pid}/task/") and text.split()]
    cpu_s = sum(map(int, threads)) / 1e9 if threads else (user + system) / TICKS_PER_S
    return Process(cpu_s, user, system)


class There:
    """The hosts of a study. prepare() connects and checks them; then it is a place like Here."""

    script = HISTOGRAM.name

    def __init__(self, asked: Asked, control: Path) -> None:
        self._asked = asked
        self._server = Connection(asked.server, control / "s", asked.ssh_options)
        self._clients = [Connection(each, control / str(i), asked.ssh_options)
                         for i, each in enumerate(asked.clients)]
        self._all = [self._server, *self._clients]
        self._binary = b""
        self._hosts: list[Host] = []
        self.unprofiled = self.uncounted_calls = ""

    # ---- before measuring ----

    def prepare(self, binary: Binary, connections: int, say: Callable[[str], None],
                profiles: bool) -> None:
        """Connect to all hosts and check them; ends the program, with a line for each fault."""
        self._binary = Path(binary.path).read_bytes()
        unreachable = self._opened(self._all)
        self._hosts = self._inspected([each for each in self._all if each.alive])
        faults = inspection.faults(self._hosts, self._parts(connections))
        self._must(unreachable + faults, say)
        self._must(self._equipped(self._all), say)
        self._must(self._binary_fault(), say)
        self._must(self._unreachable(binary), say)
        missing = "" if self._hosts[0].word("perf") else "perf is not installed"
        self.uncounted_calls = missing or trial_of_tracepoints(self._server)
        if profiles:
            self.unprofiled = missing or trial(self._server, self._perf_cpu())

    def _must(self, faults: list[tuple[str, str]], say: Callable[[str], None]) -> None:
        for host, fault in faults:
            say(f"host {host}: {fault}")
        if faults:
            names = list(dict.fromkeys(host for host, _ in faults))
            raise cannot(f"{len(names)} of {len(self._all)} hosts cannot take part: "
                         f"{', '.join(names)}")

    def _opened(self, wanted: list[Connection]) -> list[tuple[str, str]]:
        """Faults of those that cannot be reached; all are asked at the same time."""
        for each in wanted:
            each.begin()
        return self._each(wanted, lambda each: each.opened())

    @staticmethod
    def _each(wanted: Iterable[Connection], action: Callable[[Connection], object]
              ) -> list[tuple[str, str]]:
        found = []
        for each in wanted:
            try:
                action(each)
            except HostLost as error:
                found.append((each.name, str(error).removeprefix(f"host {each.name} was lost: ")))
        return found

    def _equipped(self, wanted: list[Connection]) -> list[tuple[str, str]]:
        """Copy to each host what it needs: the server its binary, a client the script of wrk's."""
        script = HISTOGRAM.read_bytes()
        copies = {each: each.put(NAME, self._binary) if each is self._server
                  else each.put(HISTOGRAM.name, script) for each in wanted}

        def copied(each: Connection) -> None:
            code, _, error = copies[each].result(COPY_LIMIT_S)
            if code:
                raise HostLost(f"a file cannot be copied to {each.folder}: {ssh.reason(error)}")

        return self._each(wanted, copied)

    def _inspected(self, wanted: list[Connection]) -> list[Host]:
        asked = [each.start(inspection.SCRIPT) for each in wanted]
        found = [ssh.sections(each.result()[1]) for each in asked]
        return [Host(each.name, SERVER if each is self._server else CLIENT, said, self._clock(each))
                for each, said in zip(wanted, found, strict=True)]

    @staticmethod
    def _clock(connection: Connection) -> Clock:
        """The best of a few readings."""
        found = []
        for _ in range(CLOCK_TRIES):
            before = time.time()
            code, said, _ = connection.run("date +%s.%N")
            if code == 0 and re.fullmatch(r"\d+\.\d+", said.strip()):
                found.append(Clock.compared(before, float(said), time.time()))
        return min(found, key=lambda clock: clock.give_or_take_s, default=Clock(0.0, float("inf")))

    def _parts(self, connections: int) -> dict[str, int]:
        """Connections that each host must be able to carry."""
        part = -(-connections // len(self._clients))
        return {each.name: connections if each is self._server else part for each in self._all}

    def _binary_fault(self) -> list[tuple[str, str]]:
        code, _, error = self._server.run(f"{shlex.quote(self._server.folder)}/{NAME} --version")
        if code == 0:
            return []
        said = (error.strip().splitlines() or [f"exit {code}"])[-1].rpartition(f"{NAME}: ")[2]
        return [(self._server.name, f"the server's binary does not run there: {said}; fix: build it "
                 "on a machine like that one, and install the libraries that scripts/README.md names")]

    def _unreachable(self, binary: Binary) -> list[tuple[str, str]]:
        """Start the server once, and see which clients reach it."""
        try:
            with self.server(binary, _trial_cell(binary, IOS[0])) as server:
                parts = urlsplit(server.url)
                tries = {each: each.start(shlex.join(["reaches", parts.hostname, str(parts.port)]))
                         for each in self._clients}
                found = [(each.name, f"cannot connect to the server at {server.url}; fix: open that "
                          "port in the firewall (--server-port), or name an address that it reaches "
                          "(--server-address)")
                         for each in self._clients if tries[each].result()[0] != 0]
                server.stop()
                return found
        except HostLost:
            raise  # it names the host
        except Failed as error:
            return [(self._server.name, f"the server does not serve there: {error}")]

    def require_transport(self, binary: Binary, io: str, original: Path) -> None:
        try:
            with self.server(binary, _trial_cell(binary, io)) as server:
                server.stop()
        except Failed as error:
            raise cannot(f"the server does not serve with --io {io} on {self._server.name}: {error}; "
                         f"use --io {IOS[0]}") from None

    def fingerprint(self, binary: Path) -> dict:
        return inspection.fingerprint(self._hosts, environment.compiler(binary),
                                      platform.python_version())

    # ---- measuring ----

    def beside_the_load(self):
        """No load is on this machine."""
        return nullcontext()

    def server(self, binary: Binary, cell: Cell) -> RemoteServer:
        """Hosts that were lost are connected to again: a measurement has all of them or fails."""
        gone = [each for each in self._all if not each.alive]
        for name, fault in self._opened(gone) or self._equipped(gone):
            raise HostLost(LOST_AT_START.format(name, fault))
        return RemoteServer(self._server, cell, self.address, self._asked.port,
                            self._hosts[0].cores[0])

    @property
    def address(self) -> str:
        """That the server listens on."""
        return self._asked.address or self._hosts[0].own_address

    def target(self, server: RemoteServer) -> RemoteTarget:
        host = self._hosts[0]
        with host.tree() as root:
            watched = cpus.siblings(host.cores[0], Path(root))
        return RemoteTarget(server, self._server, host.cores[0], frozenset(watched),
                            set(host.cores), self._perf_cpu())

    def load(self, shape: Shape, url: str) -> Fleet:
        return Fleet(self._clients, shape, url)

    def _perf_cpu(self) -> int:
        with self._hosts[0].tree() as root:
            return cpus.pair(self._hosts[0].cores, Path(root))[1]

    def profiler(self, pid: int, walk: str) -> RemoteRecorder:
        host = self._hosts[0]
        pages = perf.pages_allowed(host.word("uid") == "0",
                                   host.number("/proc/sys/kernel/perf_event_mlock_kb"))
        return RemoteRecorder(self._server, perf.record_argv(pid, walk, pages), self._perf_cpu())

    def call_counter(self, pid: int) -> RemoteRecorder:
        known = set(self._hosts[0].calls)
        events = perf.events_of(name for name in perf.all_calls() if name in known)
        return RemoteRecorder(self._server, perf.stat_argv(pid, events), self._perf_cpu())

    def sockets(self) -> int:
        return sockets_of(self._server.run("show /proc/net/sockstat")[1]) if self._server.alive else 0

    def close(self) -> None:
        ssh.close_all(self._all)


def _trial_cell(binary: Binary, io: str) -> Cell:
    return Cell("respond", "default", binary.backends[0], "lazy", 1, io=io)


@contextmanager
def hosts(asked: Asked) -> Iterator[There]:
    """Not connected yet; afterwards nothing of ours is left on them."""
    with ssh.control_folder() as control:
        there = There(asked, Path(control))
        try:
            yield there
        finally:
            there.close()
