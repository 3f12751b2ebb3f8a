"""The server under test: started afresh and pinned for every measurement, asked for its counters.

The servers that study servers loads beside it stand in contenders.py.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness import scratch
from harness.plan import SHORT_FLAGS
from harness.process import NOT_STARTED, Child, run
from results.cell import IOS, Cell
from results.errors import Failed, Stop, cannot

READY_LIMIT_S = 10.0
STOP_LIMIT_S = 15.0  # its own drain timeout is 10 s
GET_LIMIT_S = 10.0
STATS_KEYS = ["requests", "responses", "writes", "bytes_out", "connections.open",
              "connections.closed.request", "timers.armed", "timers.rearmed", "timers.moved",
              "timers.disarmed", "timers.expired", "timers.late_us", "cpu_ns", "mono_ns"]
READY_LINE = re.compile(r"^listening on (?P<url>http://\S+) (?P<said>.*\badmin=http://\S+)$",
                        re.MULTILINE)


def get(url: str, limit_s: float = GET_LIMIT_S) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=limit_s)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


Ask = Callable[[str], tuple[int, bytes]]  # an address -> status and body of the answer


def read_stats(admin_url: str, ask: Ask = get) -> dict:
    """One consistent snapshot; Failed when it lacks what the study reads."""
    try:
        return stats_in(*ask(admin_url.rstrip("/") + "/stats"), admin_url)
    except http.client.HTTPException as error:
        raise Failed(f"{admin_url}/stats is not readable: {error}") from None


def stats_in(status: int, body: bytes, admin_url: str) -> dict:
    """The snapshot in an answer."""
    try:
        stats = json.loads(body) if status == 200 else {}
    except ValueError as error:
        raise Failed(f"{admin_url}/stats is not readable: {error}") from None
    missing = [path for path in STATS_KEYS if not _has(stats, path)]
    if missing:
        raise Failed(f"{admin_url}/stats answered {status} without {missing[0]}")
    return stats


def _has(stats: object, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(stats, dict) or key not in stats:
            return False
        stats = stats[key]
    return True


def argv(binary: str, cell: Cell, address: str = "", port: int = 0) -> list[str]:
    """The default transport is not named, so that earlier versions can be measured too."""
    short = SHORT_FLAGS if cell.timeouts == "short" else []
    transport = ["--io", cell.io] if cell.io != IOS[0] else []
    where = ["--address", address] if address else []
    return [binary, *where, "--port", str(port), "--admin-port", "0", "--timer-backend", cell.backend,
            "--rearm", cell.rearm, *transport, "--scenario", cell.scenario, *short]


class Serving:
    """The server as the study sees it, whichever machine it runs on; the process is a Child."""

    ask: Ask = staticmethod(get)

    def become_ready(self, cell: Cell) -> None:
        """Wait until it runs as the cell asks, and check one GET. When that fails, end it."""
        try:
            self.url, self.admin_url = self._wait_ready(cell)
            _require_same(cell, self.stats(), f"{self.admin_url}/stats")
            self._check_get(cell.scenario)
        except BaseException:
            self.end()
            raise

    def _wait_ready(self, cell: Cell) -> tuple[str, str]:
        limit = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < limit:
            if match := READY_LINE.search(self.output()):
                said = dict(word.split("=", 1) for word in match["said"].split() if "=" in word)
                _require_same(cell, said, "its ready line")
                return match["url"], said["admin"]
            if not self.running:
                raise Failed(self.ending())
            time.sleep(0.01)
        raise Failed(f"server was not ready within {READY_LIMIT_S:.0f} s: {self.last_words()}")

    def _check_get(self, scenario: str) -> None:
        path, size = ("/", 0) if scenario == "respond" else ("/bytes/16", 16)
        status, body = self.ask(self.url + path)
        if status != 200 or len(body) != size:
            raise Failed(f"GET {path} gave {status} and {len(body)} bytes, not 200 and {size}")

    def stats(self) -> dict:
        return read_stats(self.admin_url, self.ask)

    def stop(self) -> int | None:
        """Ask it to stop; its exit code, or None when it did not stop in time."""
        self.signal(signal.SIGTERM)
        return self.wait(STOP_LIMIT_S)


class MeasuredServer(Serving, Child):
    """One on this machine, ready when constructed."""

    def __init__(self, binary: str, cell: Cell, cpus: set[int]) -> None:
        super().__init__(argv(binary, cell), cpus)
        self.become_ready(cell)


def _require_same(cell: Cell, said: dict, where: str) -> None:
    """Failed unless the server runs as it was asked to. Earlier versions name no transport."""
    asked = {"backend": cell.backend, "rearm": cell.rearm, "io": cell.io}
    for name, value in asked.items():
        found = said.get(name, IOS[0] if name == "io" else value)
        if found != value:
            raise Failed(f"asked for {name} {value}, the server has {found}, says {where}")


NAME = "idlewheel-server"


@contextmanager
def private_copy(original: Path) -> Iterator[Path]:
    """A copy of the binary, under a plain name, for as long as the block lasts.

    perf finds its symbols wherever the original lies, and a build in the meantime changes nothing.
    """
    if not os.access(original, os.R_OK | os.X_OK) or not original.is_file():
        raise _not_a_server(str(original), "not a program that can be read and run")
    refused = "no folder for it"
    for parent in scratch.candidates(original.parent):
        try:
            folder = tempfile.TemporaryDirectory(prefix="idlewheel-run-", dir=parent)
        except OSError:
            continue
        with folder:
            copy = Path(folder.name) / NAME
            if refused := _copied(original, copy):
                continue
            yield copy
            return
    raise cannot(f"{original} cannot be run from a private folder ({refused}); fix: set TMPDIR to "
                 "a folder with room, on a file system without noexec")


def _copied(original: Path, copy: Path) -> str:
    """Why the copy cannot be made or started there; empty when it can."""
    try:
        shutil.copy(original, copy)
    except OSError as error:
        return error.strerror or str(error)
    code, _, error = run([str(copy), "--version"], 10)
    return error if code == NOT_STARTED else ""


@dataclass(frozen=True)
class Binary:
    path: str
    version: str
    backends: list[str]

    @property
    def commit(self) -> str | None:
        """The commit that it was built from, with -dirty behind it if files were changed."""
        found = re.search(r"\(commit ([0-9a-f]+(?:-dirty)?)\)", self.version)
        return found[1] if found else None


def inspect(path: str, original: str | None = None) -> Binary:
    """What the binary says about itself; ends the program when it is not our server.

    original: what a message calls the binary, where `path` is a copy.
    """
    code, listing, error = run([path, "--list-timer-backends"], 10)
    version_code, version, _ = run([path, "--version"], 10)
    names = [line.split("\t")[0].strip() for line in listing.splitlines() if line.strip()]
    if code or version_code or not names:
        raise _not_a_server(original or path, error)
    return Binary(path, version.strip(), names)


def require_transport(binary: Binary, io: str, cpu: int, original: Path) -> None:
    """End the program unless the server runs on this transport here."""
    cell = Cell("respond", "default", binary.backends[0], "lazy", 1, io=io)
    try:
        with MeasuredServer(binary.path, cell, {cpu}) as server:
            server.stop()
    except (Failed, OSError, http.client.HTTPException) as error:
        raise cannot(f"{original} does not serve with --io {io}: {error}; see scripts/study doctor, "
                     f"or use --io {IOS[0]}") from None


def _not_a_server(path: str, error: str) -> Stop:
    said = error.strip().splitlines()
    why = f" ({said[-1]})" if said else ""
    return cannot(f"{path} does not run as idlewheel-server{why}; build it: {build_command(NAME)}")


def build_command(*targets: str) -> str:
    """What to type for these targets of CMake."""
    return f"cmake --preset release && cmake --build --preset release --target {' '.join(targets)}"
