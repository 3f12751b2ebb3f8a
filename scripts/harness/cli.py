"""The command line of scripts/study.

Exit codes: 0 done, 2 bad usage, 3 the environment cannot (doctor says why), 4 measured but
invalid, 130 interrupted (the same command resumes).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from harness import (Stop, bad_usage, cannot, environment, invalid, manual, plan, servers, study)
from harness.server import Failed

INTERRUPTED = 130
MAX_CONNECTIONS = 1_000_000


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
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return value


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a folder has a name")
    return Path(text)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=folder, metavar="DIR", help="result folder (default: results/<id>, or "
        "the newest one if it is this very run, unfinished)")
    add("--preset", choices=list(plan.PRESETS), default="quick",
        help="on an idle machine: smoke: plumbing only, under a minute; quick: one round, under 8 "
        "minutes; full: with statistics, under 90 minutes; paper: the 2014 study's own wrk command lines "
        "(default: quick)")
    add("--backends", type=names, metavar="A,B", help="timer backends (default: the preset's)")
    add("--connections", type=connections, metavar="N,M", help="open connections")
    add("--rearm", type=choices(plan.REARMS), metavar="lazy,eager", help="how timers are re-armed")
    add("--scenario", type=choices(plan.LOADS), metavar="A,B", dest="scenarios",
        help="of " + ", ".join(plan.LOADS) + " (short timeouts under the same load)")
    add("--rounds", type=between(1, 1000), metavar="N", help="how often each variant is measured")
    add("--duration", type=seconds, metavar="S", help="seconds of a measuring window")
    add("--seed", type=between(0, 2**63 - 1), metavar="N", help="of the random order (default: 1)")
    add("--server", type=Path, metavar="FILE", help="another idlewheel-server; implies --no-build")
    add("--no-build", action="store_true", help="neither set up nor build, take what is there")
    add("--no-report", action="store_true", help="leave the report to: study report DIR")


def _add_side_by_side(parser: argparse.ArgumentParser, levels: str, rounds: int,
                      pipeline: int = 1) -> None:
    add = parser.add_argument
    add("--connections", type=connections, default=connections(levels), metavar="N,M",
        help=f"open connections (default: {levels})")
    add("--rounds", type=between(1, 1000), default=rounds, metavar="N",
        help=f"how often each is measured (default: {rounds})")
    add("--duration", type=seconds, default=5.0, metavar="S",
        help="seconds of load on each (default: 5)")
    add("--pipeline", type=between(1, 10_000), default=pipeline, metavar="N",
        help=f"requests in each write (default: {pipeline})")
    add("--seed", type=between(0, 2**63 - 1), default=1, metavar="N",
        help="of the random order (default: 1)")
    add("--no-build", action="store_true", help="neither set up nor build, take what is there")


def parser() -> Parser:
    top = Parser(prog="scripts/study", description="Measure what timer backends cost an HTTP "
                 "server, profile it, and lay the profiles side by side.",
                 epilog="Exit codes: 0 done, 2 bad usage, 3 the environment cannot (doctor says "
                 "why), 4 measured but invalid, 130 interrupted (the same command resumes).")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure, profile and report")
    _add_measuring(run)
    run.add_argument("--no-profile", action="store_true", help="leave the profiles out")

    profile = commands.add_parser("profile", help="record profiles, into a result folder if given")
    _add_measuring(profile)

    load = commands.add_parser("load", help="load a server that you started, print the figures")
    load.add_argument("url", metavar="URL", help="http://HOST:PORT of the server")
    load.add_argument("--connections", type=between(1, MAX_CONNECTIONS), required=True, metavar="N")
    load.add_argument("--duration", type=seconds, default=5.0, metavar="S",
                      help="seconds of the measuring window (default: 5)")
    load.add_argument("--admin", metavar="URL", help="its admin address, for its own counters")
    load.add_argument("--pid", type=between(1, 2**22), metavar="P",
                      help="its process, for CPU time and memory")
    load.add_argument("--pipeline", type=between(1, 10_000), default=1, metavar="N",
                      help="requests in each write (default: 1)")
    load.add_argument("--json", action="store_true", help="print JSON")

    beside = commands.add_parser("servers", help="load idlewheel, a bare epoll loop, Beast's "
                                 "tcp_stream, nginx and Node.js alike; print a table")
    _add_side_by_side(beside, "400,5000,10000", 3)
    beside.add_argument("--idle-connections", type=between(1, MAX_CONNECTIONS), default=10_000,
                        metavar="N", help="to weigh idle ones by (default: 10000)")

    windows = commands.add_parser("windows", help="pipelined requests under write windows of "
                                  "several sizes; print a table")
    _add_side_by_side(windows, "50", 3, pipeline=16)
    windows.add_argument("--windows", type=sizes, metavar="B,B", help="bytes (default: from 0, "
                         "which is a write per response, to 65536)",
                         default=[0, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536])

    traces = commands.add_parser("traces", help="record what the server asks of its timers under "
                                 "each scenario, for timer-bench --replay")
    traces.add_argument("-o", "--output", type=folder, default=Path("traces"), metavar="DIR",
                        help="where to (default: traces)")
    traces.add_argument("--connections", type=between(1, MAX_CONNECTIONS), default=400, metavar="N")
    traces.add_argument("--duration", type=seconds, default=3.0, metavar="S",
                        help="seconds of load on each (default: 3)")
    traces.add_argument("--no-build", action="store_true",
                        help="neither set up nor build, take what is there")

    doctor = commands.add_parser("doctor", help="check whether this machine can carry the study")
    doctor.add_argument("--connections", type=between(1, MAX_CONNECTIONS), metavar="N",
                        default=max(plan.PRESETS["quick"].connections),
                        help="the most that you will open (default: 10000)")

    report = commands.add_parser("report", help="make report.html, summary.md and results.json")
    report.add_argument("folder", type=folder, metavar="DIR", help="result folder of run")

    compare = commands.add_parser("compare", help="lay two result folders side by side")
    compare.add_argument("a", type=folder, metavar="A", help="result folder of run")
    compare.add_argument("b", type=folder, metavar="B", help="another one")
    compare.add_argument("-o", "--output", type=folder, metavar="OUT",
                         help="the page to write if it ends in .html, else a folder for it "
                         "(default: compare-A.html in B)")
    compare.add_argument("--force", action="store_true", help="although the environments differ")
    return top


def _measuring(args: argparse.Namespace, argv: list[str]) -> int:
    kinds = [] if args.command == "profile" else ["load", "syscalls"]
    if not getattr(args, "no_profile", False):
        kinds += ["profile", "dwarf"]
    chosen = {k: getattr(args, k) for k in ("backends", "connections", "rearm", "scenarios",
                                            "rounds", "duration", "seed")}
    chosen["only_profiles"] = args.command == "profile"
    return study.execute(study.Options(
        argv, kinds, args.preset, chosen, args.output, args.server,
        build=not (args.no_build or args.server), report=not args.no_report))


def _load(args: argparse.Namespace) -> int:
    url = manual.check_url(args.url, "URL")
    admin = manual.check_admin(args.admin) if args.admin else None
    pid = manual.check_pid(args.pid) if args.pid else None
    _require_load(args.connections)
    _, client = environment.cores(environment.usable_cores())
    try:
        figures = manual.drive(url, args.connections, args.duration, admin, pid, {client},
                               args.pipeline)
    except (Failed, OSError) as error:
        raise invalid(str(error)) from None
    print(json.dumps(figures, indent=1) if args.json else manual.table(figures))
    if problem := manual.problem(figures):
        raise invalid(problem)
    return 0


def _require_load(connections: int) -> None:
    files = environment.check_files(environment.raise_file_limit(), connections)
    for check in (files, environment.check_tool("wrk")):
        if not check.ok:
            raise cannot(check.line())


def _traces(args: argparse.Namespace) -> int:
    _require_load(args.connections)
    if not args.no_build:
        study.make_ready(["idlewheel-server", "timer-bench"])
    cpus = list(environment.cores(environment.usable_cores()))
    try:
        made = servers.record(args.output, args.connections, args.duration, cpus)
    except (Failed, OSError) as error:
        raise invalid(str(error)) from None
    for path in made:
        print(path)
    return 0


def _side_by_side(args: argparse.Namespace) -> int:
    idle = getattr(args, "idle_connections", 0)
    _require_load(max(idle, *args.connections))
    entries = (servers.with_windows(args.windows) if args.command == "windows"
               else servers.contenders(args.pipeline))
    if not args.no_build:
        study.make_ready(sorted({target for entry in entries for target in entry.targets}))
    cpus = list(environment.cores(environment.usable_cores()))
    loads = [servers.Load(level, args.pipeline, args.duration) for level in args.connections]
    try:
        samples = servers.run(entries, loads, args.rounds, args.seed, cpus)
        memory = [servers.idle_bytes(entry, idle, cpus) for entry in entries] if idle else []
    except (Failed, OSError) as error:
        raise invalid(str(error)) from None
    print(servers.table([entry.name for entry in entries], samples, memory))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    found = environment.checks(environment.gather(study.ROOT), args.connections)
    for check in found:
        mark = "ok  " if check.ok else "FAIL" if check.must else "note"
        print(f"{mark} {check.line()}")
    failed = [check.name for check in found if check.must and not check.ok]
    if failed:
        raise cannot(f"this machine cannot carry the study yet: {', '.join(failed)}")
    return 0


def _result_folder(path: Path) -> Path:
    if not (path / "manifest.json").is_file():
        raise bad_usage(f"{path} is not a result folder: it has no manifest.json")
    return path


def _report(args: argparse.Namespace) -> int:
    print(study.build_report(_result_folder(args.folder)))
    return 0


def _compare(args: argparse.Namespace) -> int:
    from report import compare
    a, b = _result_folder(args.a), _result_folder(args.b)
    try:
        print(compare.compare(a, b, args.output, args.force))
    except compare.Refused as error:
        raise bad_usage(f"{error}; --force compares them all the same") from None
    return 0


COMMANDS = {"load": _load, "servers": _side_by_side, "windows": _side_by_side, "traces": _traces,
            "doctor": _doctor, "report": _report, "compare": _compare}


def _interrupt(number: int, _frame: object) -> None:
    """One signal ends the study; those that follow must not disturb the cleaning up."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: None)
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        args = parser().parse_args(argv)
        if args.command in ("run", "profile"):
            return _measuring(args, argv)
        return COMMANDS[args.command](args)
    except Stop as stop:
        print(f"study: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("study: interrupted; the same command starts again", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"study: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        return 3
