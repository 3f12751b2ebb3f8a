"""The servers that study servers, windows and dropin load: ours, bare loops, and other people's.

The server that study run measures stands in measured_server.py.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness import environment, io_uring
from harness.measured_server import build_command
from harness.process import text_of
from results.cell import IO_URING
from results.errors import cannot

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/release"
OWN_BINARY = BUILT / "server/idlewheel-server"
BARE_RING = BUILT / "bench/bare_ring"
TOOLS = ROOT / "build/tools"
OWN = "idlewheel"
FLOOR = "bare epoll (level)"
EDGE = "bare epoll (edge)"
RING = "bare ring"


def _always_there() -> str:
    return ""


@dataclass(frozen=True)
class Contender:
    """A server. command(folder, connections) gives the command line of one that takes so many, and
    may leave files in the folder. A server on two cores shares the second with the load. absent()
    says why this machine cannot have it, once everything is built; empty where it can.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    targets: tuple[str, ...] = ()  # of CMake, that it needs
    cores: int = 1
    absent: Callable[[], str] = _always_there


def own(name: str, *flags: str, cores: int = 1) -> Contender:
    argv = [str(OWN_BINARY), "--port=0", "--admin-port=0", *flags]
    return Contender(name, lambda *_: argv, ("idlewheel-server",), cores)


def require_built() -> None:
    """End the program unless our own server was built before."""
    if not OWN_BINARY.exists():
        raise cannot(f"{OWN_BINARY} is not there; build it: {build_command('idlewheel-server')}")


def _bare(name: str, program: str, *flags: str) -> Contender:
    return Contender(name, lambda *_: [str(BUILT / "bench" / program), *flags], ("bare",))


def _no_io_uring() -> str:
    refused = io_uring.refusal()
    return f"io_uring is not available: {refused.why}; fix: see scripts/study doctor" if refused else ""


def _no_bare_ring() -> str:
    missing = f"not built, or built without liburing; fix: scripts/setup && {build_command('bare')}"
    return _no_io_uring() or ("" if BARE_RING.exists() else missing)


def found_program(name: str) -> str | None:
    """The program's path: installed, or else where scripts/setup put it.

    TOOLS is searched on its own, because its path may hold a colon, which separates the folders of
    PATH.
    """
    return (shutil.which(name) or shutil.which(TOOLS / name)
            or shutil.which(name, path="/usr/sbin"))


def why_absent(name: str) -> str:
    """Why scripts/setup has not brought this program; empty where it is there."""
    if found_program(name):
        return ""
    if said := text_of(TOOLS / f"{name}.absent"):
        return f"{name} is not available: {said}"
    return "not found; fix: scripts/setup"


def _configured(name: str, command: str, settings: Callable[[int], dict[str, str]]) -> Contender:
    """One that reads bench/servers/NAME.conf.in, with @PORT@ and the settings filled in.

    command: for the shell, which runs it in the folder of the configuration: the program is "$2".
    """
    def made(folder: Path, connections: int) -> list[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        config = (ROOT / f"bench/servers/{name}.conf.in").read_text()
        for key, value in (settings(connections) | {"PORT": port}).items():
            config = config.replace(f"@{key}@", value)
        (folder / f"{name}.conf").write_text(config)
        (folder / "empty").touch()
        shell = f'echo "listening on http://127.0.0.1:$1"; cd "$3" && exec {command}'
        return ["sh", "-c", shell, "sh", port, found_program(name) or name, str(folder)]

    return Contender(name, made, absent=lambda: why_absent(name))


def nginx_slots(connections: int) -> int:
    """nginx counts its listener too, and closes idle connections once 15 of 16 slots are taken."""
    return (connections + environment.SPARE_FILES) * 16 // 15 + 1


def _nginx_settings(connections: int) -> dict[str, str]:
    return {"CONNECTIONS": str(nginx_slots(connections))}


def _h2o_settings(connections: int) -> dict[str, str]:
    """As root h2o would become another user, who may not read the folder."""
    return {"CONNECTIONS": str(connections + environment.SPARE_FILES),
            "USER": "user: root" if os.geteuid() == 0 else ""}


def contenders(pipeline: int = 1) -> list[Contender]:
    """The bare servers first, which answer one request per read, then ours, then what people use."""
    bare = [_bare(FLOOR, "bare_epoll"), _bare(EDGE, "bare_epoll", "--edge"),
            replace(_bare(RING, "bare_ring"), absent=_no_bare_ring)]
    return [
        *(bare if pipeline == 1 else []),
        own(OWN),
        replace(own(f"{OWN} --io {IO_URING}", f"--io={IO_URING}"), absent=_no_io_uring),
        own(f"{OWN} eager", "--rearm=eager"),
        own(f"{OWN} --threads 2", "--threads=2", cores=2),
        Contender("Beast, tcp_stream",
                  lambda *_: [str(BUILT / "timers/examples/beast_tcp_stream"), "0"],
                  ("beast_tcp_stream",)),
        _configured("nginx", '"$2" -e stderr -p "$3" -c nginx.conf', _nginx_settings),
        _configured("h2o", '"$2" -c h2o.conf', _h2o_settings),
        Contender("Node.js", lambda *_: ["node", str(ROOT / "bench/servers/node.js")]),
    ]


def with_windows(sizes: list[int]) -> list[Contender]:
    return [own(f"{size} bytes", f"--write-window-bytes={size}") for size in sizes]


# What study dropin compares: a name, and what beast_timeouts.cpp calls it.
WITHOUT, STOCK, EDITED = "no timeouts", "beast::tcp_stream", "timers::tcp_stream"
TIMEOUTS = {WITHOUT: "none", STOCK: "stream", EDITED: "wheel-stream",
            "timers::tcp_stream, idle_after": "idle",
            "asio::steady_timer": "timer", "timers::steady_timer": "wheel-timer",
            "timers::steady_timer, rearm_after": "rearm",
            "asio::steady_timer and a signal": "hand-cancel", "timers::cancel_after": "cancel"}
BY_HAND = "by hand on AsioDriver"  # which is for one thread


def with_timeouts(threads: int) -> list[Contender]:
    """One keep-alive server on Beast, whose timeouts are kept in different ways."""
    program = str(BUILT / "bench/beast_timeouts")
    made = [Contender(name, lambda *_, kind=kind: [program, kind, str(threads)],
                      ("beast_timeouts",), threads) for name, kind in TIMEOUTS.items()]
    by_hand = Contender(BY_HAND, lambda *_: [str(BUILT / "timers/examples/beast_idlewheel"), "0"],
                        ("beast_idlewheel",))
    return made + ([by_hand] if threads == 1 else [])
