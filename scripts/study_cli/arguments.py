"""The command line of scripts/study: its flags, and what --help says."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness import plan
from harness.plan import MAX_CONNECTIONS, ROUNDS_LIMIT, WINDOW_LIMIT_S
from results.cell import IOS
from results.errors import EXIT_CODES, bad_usage


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of after a page of usage."""

    def error(self, message: str) -> None:
        raise bad_usage(f"{self.prog}: {message} (see {self.prog} --help)")


def names(text: str) -> list[str]:
    found = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return found


def choices(known: list[str]):
    def parse(text: str) -> list[str]:
        for name in names(text):
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names(text)

    return parse


def between(low: int, high: int):
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return parse


def connections(text: str) -> list[int]:
    return sorted({between(1, MAX_CONNECTIONS)(part.strip()) for part in text.split(",")})


def sizes(text: str) -> list[int]:
    return sorted({between(0, 2**30)(part.strip()) for part in text.split(",")})


def seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= WINDOW_LIMIT_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to "
                                         f"{WINDOW_LIMIT_S}")
    return value


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a folder has a name")
    return Path(text)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=folder, metavar="DIR", help="result folder "
        "(default: the newest in results/ if it is this study, unfinished; else a new one there)")
    add("--preset", choices=list(plan.PRESETS), default="quick",
        help="smoke: does it work at all, under a minute; quick: one round, under 8 minutes; full: "
        "with statistics, under 90 minutes; paper: the wrk command lines of the 2014 study "
        "(default: quick)")
    add("--backends", type=names, metavar="A,B", help="timer backends (default: those "
        "of the preset)")
    add("--connections", type=connections, metavar="N,M", help="open connections (default: those "
        "of the preset)")
    add("--rearm", type=choices(plan.REARMS), metavar="lazy,eager", help="how timers are re-armed")
    add("--io", type=choices(IOS), metavar=",".join(IOS), help="transports of the server (default: "
        "epoll); with both, each is also compared with the other")
    add("--scenario", type=choices(plan.WORKLOADS), metavar="A,B", dest="scenarios",
        help="of " + ", ".join(plan.WORKLOADS) + " (+short: with timeouts of 2 s and 1 s)")
    add("--rounds", type=between(1, ROUNDS_LIMIT), metavar="N", help="how often each cell is measured")
    add("--duration", type=seconds, metavar="S", help="seconds of a measuring window; "
        "with --preset paper wrk's own -d")
    add("--seed", type=between(0, 2**63 - 1), metavar="N",
        help="seed of the random order (default: 1)")
    add("--server", metavar="FILE|HOST", help="another idlewheel-server binary, as --binary; with "
        "--clients the host that it runs on: [USER@]HOST[:PORT], reached by ssh")
    add("--clients", type=Path, metavar="FILE", help="a host a line, each of which runs wrk; the "
        "connections are shared out among them")
    add("--binary", type=Path, metavar="FILE",
        help="another idlewheel-server binary; implies --no-build")
    add("--ssh-option", action="append", metavar="NAME=VALUE", help="for ssh -o, also several times")
    add("--server-address", metavar="ADDRESS", help="that the server listens on and the clients connect "
        "to (default: the address of its host that ssh has reached)")
    add("--server-port", type=between(1, 65535), metavar="N",
        help="that the server listens on there (default: any free one)")
    add("--no-build", action="store_true", help="neither set up nor build: use what is there")
    add("--no-report", action="store_true",
        help="make no report now; study report DIR makes it later")


def _add_side_by_side(parser: argparse.ArgumentParser, levels: str, rounds: int,
                      pipeline: int = 1) -> None:
    add = parser.add_argument
    add("--connections", type=connections, default=connections(levels), metavar="N,M",
        help=f"open connections (default: {levels})")
    add("--rounds", type=between(1, ROUNDS_LIMIT), default=rounds, metavar="N",
        help=f"how often each is measured (default: {rounds})")
    add("--duration", type=seconds, default=5.0, metavar="S",
        help="seconds of load on each (default: 5)")
    add("--pipeline", type=between(1, 10_000), default=pipeline, metavar="N",
        help=f"requests in each write (default: {pipeline})")
    add("--seed", type=between(0, 2**63 - 1), default=1, metavar="N",
        help="seed of the random order (default: 1)")
    add("--no-build", action="store_true", help="neither set up nor build: use what is there")


def parser() -> Parser:
    top = Parser(prog="scripts/study", description="Measure what timer backends cost an HTTP "
                 "server, profile it, and lay the profiles side by side.",
                 epilog=EXIT_CODES)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, profile and report")
    _add_measuring(run)
    profiles = run.add_mutually_exclusive_group()
    profiles.add_argument("--no-profile", action="store_true", help="record no profiles")
    profiles.add_argument("--profile-if-allowed", action="store_true",
                          help="where perf may not record, say why and go on without profiles")

    profile = commands.add_parser("profile", help="record profiles, into a result folder if given")
    _add_measuring(profile)

    load = commands.add_parser("load", help="load a server that you started; print the figures")
    load.add_argument("url", metavar="URL", help="http://HOST:PORT of the server")
    load.add_argument("--connections", type=between(1, MAX_CONNECTIONS), required=True, metavar="N",
                      help="open connections")
    load.add_argument("--duration", type=seconds, default=5.0, metavar="S",
                      help="seconds of the measuring window (default: 5)")
    load.add_argument("--admin", metavar="URL",
                      help="admin address of an idlewheel-server, to read its counters")
    load.add_argument("--pid", type=between(1, 2**22), metavar="P",
                      help="process id of the server, to read its CPU time and memory")
    load.add_argument("--pipeline", type=between(1, 10_000), default=1, metavar="N",
                      help="requests in each write (default: 1)")
    load.add_argument("--json", action="store_true", help="print JSON")

    beside = commands.add_parser("servers", help="load idlewheel on epoll and io_uring and other "
                                 "servers alike (bare loops, Beast tcp_stream, nginx, h2o, Node.js); "
                                 "print a table")
    _add_side_by_side(beside, "400,5000,10000", 3)
    beside.add_argument("--idle-connections", type=between(1, MAX_CONNECTIONS), default=10_000,
                        metavar="N",
                        help="idle connections whose memory is measured (default: 10000)")

    windows = commands.add_parser("windows", help="load idlewheel with pipelined requests "
                                  "under write windows of several sizes; print a table")
    _add_side_by_side(windows, "50", 3, pipeline=16)
    windows.add_argument("--windows", type=sizes, metavar="B,B", help="sizes in bytes (default: "
                         "0, which is a write per response, to 65536)",
                         default=[0, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536])

    dropin = commands.add_parser("dropin", help="load one server on Beast whose timeouts are kept in "
                                 "different ways, Beast's, Asio's and the library's; print a table")
    _add_side_by_side(dropin, "400,5000", 5)
    dropin.add_argument("--threads", type=int, choices=[1, 2], default=1,
                        help="threads of the server; with 2 each connection has a strand, and the "
                        "load shares a core (default: 1)")

    traces = commands.add_parser("traces", help="record every call to the timers under each "
                                 "scenario, for timer-bench --replay")
    traces.add_argument("-o", "--output", type=folder, default=Path("traces"), metavar="DIR",
                        help="folder for the traces (default: traces)")
    traces.add_argument("--connections", type=between(1, MAX_CONNECTIONS), default=400,
                        metavar="N", help="open connections (default: 400)")
    traces.add_argument("--duration", type=seconds, default=3.0, metavar="S",
                        help="seconds of load on each (default: 3)")
    traces.add_argument("--no-build", action="store_true",
                        help="neither set up nor build: use what is there")

    fleet = commands.add_parser("fleet", help="servers beside each other on one port, with many idle "
                                "connections: their CPU time, memory, wake-ups and expiry")
    fleet.add_argument("--processes", type=between(1, 100), default=4, metavar="N",
                       help="servers on the port (default: 4)")
    fleet.add_argument("--connections", type=between(1, 1_000_000), default=60_000, metavar="N",
                       help="idle connections to all of them together (default: 60000)")
    fleet.add_argument("--idle-timeout", type=between(2, 600), default=60, metavar="S",
                       help="seconds after which the servers close a silent connection; opening all "
                       "of them must take less (default: 60)")
    fleet.add_argument("--duration", type=seconds, default=10.0, metavar="S",
                       help="seconds in which the idle servers are measured (default: 10)")
    fleet.add_argument("--io", choices=IOS, default=IOS[0],
                       help=f"transport of the servers (default: {IOS[0]})")
    fleet.add_argument("--backend", default="hierarchical-wheel", metavar="NAME",
                       help="timer backend of the servers (default: hierarchical-wheel)")
    fleet.add_argument("--no-build", action="store_true",
                       help="neither set up nor build: use what is there")

    doctor = commands.add_parser("doctor", help="check whether this machine can run the study")
    doctor.add_argument("--connections", type=between(1, MAX_CONNECTIONS), metavar="N",
                        default=max(plan.PRESETS["quick"].connections),
                        help="the most connections that you will ask for (default: 10000)")

    report = commands.add_parser("report", help="make report.html, summary.md and results.json")
    report.add_argument("folder", type=folder, metavar="DIR", help="result folder of run")

    compare = commands.add_parser("compare", help="compare two result folders")
    compare.add_argument("a", type=folder, metavar="A", help="result folder of run")
    compare.add_argument("b", type=folder, metavar="B", help="another one")
    compare.add_argument("-o", "--output", type=folder, metavar="OUT",
                         help="the page to write if it ends in .html, else a folder for it "
                         "(default: compare-A.html in B)")
    compare.add_argument("--force", action="store_true", help="compare even if the machines differ")

    tails = commands.add_parser("tails", help="draw the tails that timer-bench measured")
    tails.add_argument("file", type=folder, metavar="FILE",
                       help="what timer-bench --benchmark_out=FILE has written")
    tails.add_argument("-o", "--output", type=folder, metavar="OUT",
                       help="the page to write (default: FILE, but ending in .html)")
    return top
