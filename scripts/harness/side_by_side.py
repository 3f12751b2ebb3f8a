"""study servers and study windows: whole servers, ours and others, loaded alike and side by side.

The server that study run measures stands in measured_server.py.
"""

from __future__ import annotations

import random
import re
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from harness import running_server
from harness.measured_server import READY_LIMIT_S, get
from harness.process import Child, cpu_s, rss_kib
from harness.window import Target
from results.errors import Failed, cannot

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/release"
TOOLS = ROOT / "build/tools"
OWN = "idlewheel"
FLOOR = "bare epoll"
ADDRESS = re.compile(r"\b127\.0\.0\.1:(\d+)")
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@dataclass(frozen=True)
class Contender:
    """A server. command(folder) gives its command line, and may leave files in the folder. A server
    on two cores shares the second with the load."""

    name: str
    command: Callable[[Path], list[str]]
    targets: tuple[str, ...] = ()  # of CMake, that it needs
    cores: int = 1


def own(name: str, *flags: str, cores: int = 1) -> Contender:
    argv = [str(BUILT / "server/idlewheel-server"), "--port=0", "--admin-port=0", *flags]
    return Contender(name, lambda _: argv, ("idlewheel-server",), cores)


def _nginx(folder: Path) -> list[str]:
    found = shutil.which("nginx") or shutil.which("nginx", path=f"{TOOLS}:/usr/sbin")
    if not found:
        raise cannot("nginx: not found; fix: scripts/setup")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = (ROOT / "bench/servers/nginx.conf.in").read_text()
    config = config.replace("@FOLDER@", str(folder)).replace("@PORT@", str(port))
    (folder / "nginx.conf").write_text(config)
    shell = ('echo "listening on http://127.0.0.1:$1"; '
             'exec "$2" -e stderr -p "$3" -c "$3/nginx.conf"')
    return ["sh", "-c", shell, "sh", str(port), found, str(folder)]


def contenders(pipeline: int = 1) -> list[Contender]:
    """The floor first, which answers one request a read, then ours, then what people use."""
    floor = Contender(FLOOR, lambda _: [str(BUILT / "bench/bare_epoll")], ("bare_epoll",))
    return [
        *([floor] if pipeline == 1 else []),
        own(OWN),
        own(f"{OWN} eager", "--rearm=eager"),
        own(f"{OWN} --threads 2", "--threads=2", cores=2),
        Contender("Beast, tcp_stream",
                  lambda _: [str(BUILT / "timers/examples/beast_tcp_stream"), "0"],
                  ("beast_tcp_stream",)),
        Contender("nginx", _nginx),
        Contender("Node.js", lambda _: ["node", str(ROOT / "bench/servers/node.js")]),
    ]


def with_windows(sizes: list[int]) -> list[Contender]:
    return [own(f"{size} bytes", f"--write-window-bytes={size}") for size in sizes]


@contextmanager
def started(contender: Contender, cpus: list[int],
            answers: bool = True) -> Iterator[tuple[Child, str]]:
    """The running server and its address, once it has answered a GET, if it does."""
    with tempfile.TemporaryDirectory(prefix="idlewheel-servers-") as folder:
        command = contender.command(Path(folder))
        with Child(command, set(cpus[:contender.cores])) as child:
            url = _wait_ready(contender.name, child, answers)
            yield child, url


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
    with started(contender, cpus) as (child, url):
        target = Target(url, pid=child.pid, child=child)
        figures = running_server.drive(target, load.connections, load.duration_s, {cpus[-1]},
                                       load.pipeline)
    if why := running_server.problem(figures):
        raise Failed(f"{contender.name}: {why}")
    return {"name": contender.name, "connections": load.connections,
            "us": figures["cpu"]["us_per_request"],
            "user_us": figures["cpu"]["user_us_per_request"]}


def idle_bytes(contender: Contender, connections: int, cpus: list[int]) -> dict:
    """Resident memory of a connection that waits after one request, and the CPU time it takes."""
    with started(contender, cpus) as (child, url), ExitStack() as clients:
        before = rss_kib(child.pid)
        port = int(url.rpartition(":")[2])
        for number in range(connections):
            client = clients.enter_context(socket.socket())
            client.settimeout(READY_LIMIT_S)
            client.bind((f"127.0.1.{1 + number % 200}", 0))
            client.connect(("127.0.0.1", port))
            client.sendall(GET)
            if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                raise Failed(f"{contender.name} did not answer")
        bytes_each = (rss_kib(child.pid) - before) * 1024 / connections
        idle_cpu = _cpu_while_idle(child.pid)
    return {"name": contender.name, "bytes": bytes_each, "idle_cpu": idle_cpu}


def _cpu_while_idle(pid: int, seconds: float = 3.0) -> float:
    time.sleep(1)
    before = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before) / seconds


def run(entries: list[Contender], loads: list[Load], rounds: int, seed: int,
        cpus: list[int]) -> list[dict]:
    """Every server under every load once a round, in an order drawn anew each round."""
    order = random.Random(seed)
    samples = []
    for number in range(rounds):
        pairs = [(entry, load) for entry in entries for load in loads]
        order.shuffle(pairs)
        for entry, load in pairs:
            sample = cost_of(entry, load, cpus)
            samples.append(sample)
            print(f"round {number + 1}/{rounds}: {load.connections} connections, {entry.name}: "
                  f"{sample['us']:.2f} us", file=sys.stderr)
    return samples


def medians(samples: list[dict]) -> dict[tuple[str, int], dict]:
    groups: dict[tuple[str, int], list[dict]] = {}
    for sample in samples:
        groups.setdefault((sample["name"], sample["connections"]), []).append(sample)
    return {key: {what: statistics.median(s[what] for s in group) for what in ("us", "user_us")}
            for key, group in groups.items()}


def table(names: list[str], samples: list[dict], memory: list[dict]) -> str:
    """Markdown: CPU us per request, in brackets the ratio to the first of the names."""
    found = medians(samples)
    levels = sorted({level for _, level in found})
    bytes_each = {entry["name"]: entry for entry in memory}
    head = ["server", *(f"{level} connections" for level in levels),
            *(f"user mode, {level}" for level in levels)]
    if memory:
        head += ["bytes per idle connection", "CPU while idle"]
    rows = [head, ["---"] * len(head)]
    for name in names:
        row = [name]
        row += [_ratio(found[name, level]["us"], found[names[0], level]["us"]) for level in levels]
        row += [f"{found[name, level]['user_us']:.2f}" for level in levels]
        if memory:
            entry = bytes_each[name]
            row += [f"{entry['bytes']:.0f}", f"{entry['idle_cpu']:.2%}"]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _ratio(value: float, base: float) -> str:
    return f"{value:.2f} ({value / base:.2f}x)"
