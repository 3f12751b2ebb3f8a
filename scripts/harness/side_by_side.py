"""study servers and study windows: whole servers, ours and others, loaded alike and side by side.

The server that study run measures stands in measured_server.py.
"""

from __future__ import annotations

import random
import re
import select
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from harness import environment, running_server
from harness.measured_server import READY_LIMIT_S, build_command, get
from harness.process import Child, cpu_s, rss_kib
from harness.window import Target
from results.errors import Failed, cannot

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/release"
OWN_BINARY = BUILT / "server/idlewheel-server"
TOOLS = ROOT / "build/tools"
OWN = "idlewheel"
FLOOR = "bare epoll"
ADDRESS = re.compile(r"\b127\.0\.0\.1:(\d+)")
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@dataclass(frozen=True)
class Contender:
    """A server. command(folder, connections) gives the command line of one that takes so many, and
    may leave files in the folder. A server on two cores shares the second with the load."""

    name: str
    command: Callable[[Path, int], list[str]]
    targets: tuple[str, ...] = ()  # of CMake, that it needs
    cores: int = 1


def own(name: str, *flags: str, cores: int = 1) -> Contender:
    argv = [str(OWN_BINARY), "--port=0", "--admin-port=0", *flags]
    return Contender(name, lambda *_: argv, ("idlewheel-server",), cores)


def require_built() -> None:
    """End the program unless our own server was built before."""
    if not OWN_BINARY.exists():
        raise cannot(f"{OWN_BINARY} is not there; build it: {build_command('idlewheel-server')}")


def _found_nginx() -> str | None:
    """TOOLS is no part of a list of folders, because its path may hold a colon."""
    kept = TOOLS / "nginx"
    return shutil.which("nginx") or shutil.which(kept) or shutil.which("nginx", path="/usr/sbin")


def _nginx(folder: Path, connections: int) -> list[str]:
    found = _found_nginx()
    if not found:
        raise Failed("not found; fix: scripts/setup")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = (ROOT / "bench/servers/nginx.conf.in").read_text()
    config = config.replace("@PORT@", str(port))
    config = config.replace("@CONNECTIONS@", str(_nginx_slots(connections)))
    (folder / "nginx.conf").write_text(config)
    shell = 'echo "listening on http://127.0.0.1:$1"; exec "$2" -e stderr -p "$3" -c nginx.conf'
    return ["sh", "-c", shell, "sh", str(port), found, str(folder)]


def _nginx_slots(connections: int) -> int:
    """nginx counts its listener too, and closes idle connections once 15 of 16 slots are taken."""
    return (connections + environment.SPARE_FILES) * 16 // 15 + 1


def contenders(pipeline: int = 1) -> list[Contender]:
    """The floor first, which answers one request a read, then ours, then what people use."""
    floor = Contender(FLOOR, lambda *_: [str(BUILT / "bench/bare_epoll")], ("bare_epoll",))
    return [
        *([floor] if pipeline == 1 else []),
        own(OWN),
        own(f"{OWN} eager", "--rearm=eager"),
        own(f"{OWN} --threads 2", "--threads=2", cores=2),
        Contender("Beast, tcp_stream",
                  lambda *_: [str(BUILT / "timers/examples/beast_tcp_stream"), "0"],
                  ("beast_tcp_stream",)),
        Contender("nginx", _nginx),
        Contender("Node.js", lambda *_: ["node", str(ROOT / "bench/servers/node.js")]),
    ]


def with_windows(sizes: list[int]) -> list[Contender]:
    return [own(f"{size} bytes", f"--write-window-bytes={size}") for size in sizes]


@contextmanager
def started(contender: Contender, cpus: list[int], connections: int,
            answers: bool = True) -> Iterator[tuple[Child, str]]:
    """The running server and its address, once it has answered a GET, if it does."""
    with tempfile.TemporaryDirectory(prefix="idlewheel-servers-") as folder:
        command = contender.command(Path(folder), connections)
        with _child(contender, command, set(cpus[:contender.cores])) as child:
            yield child, _wait_ready(contender.name, child, answers)


def _child(contender: Contender, command: list[str], cpus: set[int]) -> Child:
    try:
        return Child(command, cpus)
    except OSError as error:
        build = f"; build it: {build_command(*contender.targets)}" if contender.targets else ""
        raise Failed(f"cannot start {command[0]}: {error.strerror}{build}") from None


def _wait_ready(name: str, child: Child, answers: bool) -> str:
    limit = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < limit and child.running:
        if found := ADDRESS.search(child.output()):
            url = f"http://127.0.0.1:{found[1]}"
            if not answers:
                return url
            try:
                status, _ = get(url + "/")
                if status == 200:
                    return url
                raise Failed(f"{name} answered {status}")
            except (OSError, HTTPException):
                pass  # nginx listens a moment after it is named
        time.sleep(0.02)
    raise Failed(f"{name} was not ready: {child.last_words()}")


@dataclass(frozen=True)
class Load:
    """What wrk asks of each server."""

    connections: int
    pipeline: int
    duration_s: float


def cost_of(contender: Contender, load: Load, cpus: list[int]) -> dict:
    """CPU microseconds per request, and those in user mode; connecting is part of them."""
    with started(contender, cpus, load.connections) as (child, url):
        target = Target(url, pid=child.pid, child=child)
        figures = running_server.drive(target, load.connections, load.duration_s, {cpus[-1]},
                                       load.pipeline)
    if why := running_server.problem(figures):
        raise Failed(why)
    return {"name": contender.name, "connections": load.connections,
            "us": figures["cpu"]["us_per_request"],
            "user_us": figures["cpu"]["user_us_per_request"]}


def idle_bytes(contender: Contender, connections: int, cpus: list[int]) -> dict:
    """Resident memory of a connection that waits after one request, and the CPU time it takes.

    Failed when the server does not keep all of them: those that are gone would make the others seem
    small.
    """
    with started(contender, cpus, connections) as (child, url), ExitStack() as stack:
        before = rss_kib(child.pid)
        port = int(url.rpartition(":")[2])
        clients = [stack.enter_context(_idle_client(number, port)) for number in range(connections)]
        bytes_each = (rss_kib(child.pid) - before) * 1024 / connections
        idle_cpu = _cpu_while_idle(child.pid)
        if closed := _closed(clients):
            raise Failed(f"closed {closed} of {connections} idle connections")
    return {"name": contender.name, "bytes": bytes_each, "idle_cpu": idle_cpu}


def _idle_client(number: int, port: int) -> socket.socket:
    """A connection that has had one answer. 200 addresses have ports enough for all of them."""
    client = socket.socket()
    try:
        client.settimeout(READY_LIMIT_S)
        client.bind((f"127.0.1.{1 + number % 200}", 0))
        client.connect(("127.0.0.1", port))
        client.sendall(GET)
        if not client.recv(4096).startswith(b"HTTP/1.1 200"):
            raise Failed(f"did not answer on connection {number + 1}")
    except BaseException as error:
        client.close()
        if isinstance(error, OSError):
            raise Failed(f"connection {number + 1}: {error.strerror or error}") from None
        raise
    return client


def _closed(clients: list[socket.socket]) -> int:
    """How many of them the server has closed."""
    waiting = select.poll()
    for client in clients:
        waiting.register(client, select.POLLRDHUP)
    return len(waiting.poll(0))


def _cpu_while_idle(pid: int, seconds: float = 3.0) -> float:
    time.sleep(1)
    before = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before) / seconds


@dataclass
class Results:
    """What was measured so far; a server that fails keeps what it had, with the reason."""

    samples: list[dict] = field(default_factory=list)
    memory: list[dict] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # the first reason of each server

    def attempt(self, name: str, words: str, measure: Callable[[], dict], into: list[dict]) -> bool:
        try:
            into.append(measure())
            return True
        except (Failed, OSError, HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.failures.setdefault(name, f"{words}: {reason}")
            print(f"{name}: {words}: failed: {reason}", file=sys.stderr)
            return False


def run(found: Results, entries: list[Contender], loads: list[Load], rounds: int, seed: int,
        cpus: list[int]) -> None:
    """Every server under every load once a round, in an order drawn anew each round.

    A server that fails under a load is not asked again under that one.
    """
    order = random.Random(seed)
    failed = set()
    for number in range(rounds):
        pairs = [(entry, load) for entry in entries for load in loads]
        order.shuffle(pairs)
        for entry, load in pairs:
            words, place = f"{load.connections} connections", (entry.name, load.connections)
            if place in failed:
                continue
            if not found.attempt(entry.name, words, lambda: cost_of(entry, load, cpus),
                                 found.samples):
                failed.add(place)
                continue
            print(f"round {number + 1}/{rounds}: {words}, {entry.name}: "
                  f"{found.samples[-1]['us']:.2f} us", file=sys.stderr)


def weigh(found: Results, entries: list[Contender], connections: int, cpus: list[int]) -> None:
    """The memory of each server's idle connections."""
    for entry in entries:
        found.attempt(entry.name, f"{connections} idle connections",
                      lambda: idle_bytes(entry, connections, cpus), found.memory)


def medians(samples: list[dict]) -> dict[tuple[str, int], dict]:
    groups: dict[tuple[str, int], list[dict]] = {}
    for sample in samples:
        groups.setdefault((sample["name"], sample["connections"]), []).append(sample)
    return {key: {what: statistics.median(s[what] for s in group) for what in ("us", "user_us")}
            for key, group in groups.items()}


def table(names: list[str], levels: list[int], found: Results, weighed: bool) -> str:
    """Markdown: CPU us per request, in brackets the ratio to the first of the names.

    What was not measured is a dash, and the last column says why.
    """
    costs = medians(found.samples)
    memory = {entry["name"]: entry for entry in found.memory}
    head = ["server", *(f"{level} connections" for level in levels),
            *(f"user mode, {level}" for level in levels)]
    head += ["bytes per idle connection", "CPU while idle"] if weighed else []
    head += ["failed"] if found.failures else []
    rows = [head, ["---"] * len(head)]
    for name in names:
        row = [name]
        row += [_ratio(costs.get((name, level)), costs.get((names[0], level))) for level in levels]
        row += [_word(costs.get((name, level)), "user_us", "{:.2f}") for level in levels]
        if weighed:
            row += [_word(memory.get(name), "bytes", "{:.0f}"),
                    _word(memory.get(name), "idle_cpu", "{:.2%}")]
        if found.failures:
            row.append(found.failures.get(name, "").replace("|", "\\|"))
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _word(entry: dict | None, key: str, form: str) -> str:
    return form.format(entry[key]) if entry else "-"


def _ratio(entry: dict | None, base: dict | None) -> str:
    ratio = f" ({entry['us'] / base['us']:.2f}x)" if entry and base else ""
    return _word(entry, "us", "{:.2f}") + ratio
