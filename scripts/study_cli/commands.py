"""The commands of scripts/study. Only this module knows both the harness and the report."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from harness import (addresses, contenders, cpus, environment, fleet, lock, machines,
                     measured_server, running_server, side_by_side, side_table, study, traces)
from harness.window import Target
from report import build, compare, tails
from results.errors import CANNOT, DONE, INTERRUPTED, Failed, Stop
from results.errors import bad_usage, cannot, invalid
from results.manifest import MANIFEST
from study_cli.arguments import parser


def _measuring(args: argparse.Namespace, argv: list[str]) -> None:
    kinds = [] if args.command == "profile" else ["load", "syscalls"]
    if not getattr(args, "no_profile", False):
        kinds += study.PROFILES
    chosen = {k: getattr(args, k) for k in ("backends", "connections", "rearm", "io",
                                            "scenarios", "rounds", "duration", "seed")}
    chosen["only_profiles"] = args.command == "profile"
    hosts = _hosts(args)
    if args.binary and args.server and not hosts:
        raise bad_usage("--server without --clients names the binary, and so does --binary")
    binary = args.binary or (Path(args.server) if args.server and not hosts else None)
    study.execute(study.Options(
        argv, kinds, args.preset, chosen, args.output, binary,
        build=not (args.no_build or binary),
        report=None if args.no_report else build.report, hosts=hosts,
        profile_if_allowed=getattr(args, "profile_if_allowed", False)))


def _hosts(args: argparse.Namespace) -> machines.Asked | None:
    """The hosts of a study on several machines; None where all of it is on this one."""
    if args.clients is None:
        for flag in ("ssh_option", "server_address", "server_port"):
            if getattr(args, flag):
                raise bad_usage(f"--{flag.replace('_', '-')} is for hosts: it needs --clients")
        return None
    if not args.server:
        raise bad_usage("--clients needs --server HOST")
    server = addresses.named(args.server, "--server")
    clients = addresses.read(args.clients)
    if server in clients:
        raise bad_usage(f"{server} is the server's host, and stands in {args.clients} too")
    return machines.Asked(server, clients, args.ssh_option or [], args.server_address,
                          args.server_port or 0)


def _load(args: argparse.Namespace) -> None:
    target = Target(
        running_server.check_url(args.url, "URL"),
        running_server.check_admin(args.admin) if args.admin else None,
        running_server.check_pid(args.pid) if args.pid else None)
    _require_load(args.connections)
    server, client = cpus.pair(cpus.usable_cores())
    if server == client:
        study.say(f"note: only core {client} may be used here, so wrk takes time from the server")
    try:
        figures = running_server.drive(target, args.connections, args.duration, {client},
                                       args.pipeline)
    except (Failed, OSError) as error:
        raise invalid(str(error)) from None
    print(json.dumps(figures, indent=1) if args.json else running_server.table(figures))
    if problem := running_server.problem(figures):
        raise invalid(problem)


def _require_load(connections: int) -> None:
    files = environment.check_files(environment.raise_file_limit(), connections)
    for check in (files, environment.check_tool("wrk")):
        if not check.ok:
            raise cannot(check.line())


def _two_cores() -> list[int]:
    """The server's core and the load's."""
    usable = cpus.usable_cores()
    if len(usable) < 2:
        raise cannot(f"a server and its load need a core each, and only core {usable[0]} may be used "
                     "here (taskset, a cpuset or the size of the machine allows no other)")
    return list(cpus.pair(usable))


def _traces(args: argparse.Namespace) -> None:
    _require_load(args.connections)
    if args.no_build:
        contenders.require_built()
    else:
        study.make_ready(["idlewheel-server", "timer-bench"])
    cores = list(cpus.pair(cpus.usable_cores()))
    try:
        made = traces.record(args.output, args.connections, args.duration, cores)
    except Failed as error:
        raise invalid(str(error)) from None
    for path in made:
        print(path)


def _entries(args: argparse.Namespace) -> list[contenders.Contender]:
    if args.command == "servers":
        return contenders.contenders(args.pipeline)
    if args.command == "dropin":
        return contenders.with_timeouts(args.threads)
    return contenders.with_windows(args.windows)


def _side_by_side(args: argparse.Namespace) -> None:
    idle = getattr(args, "idle_connections", 0)
    _require_load(max(idle, *args.connections))
    servers = args.command == "servers"
    entries = _entries(args)
    if args.no_build:
        contenders.require_built()
    else:
        study.make_ready(sorted({target for entry in entries for target in entry.targets}))
    cores = _two_cores()
    loads = [side_by_side.Load(level, args.pipeline, args.duration) for level in args.connections]
    names = [entry.name for entry in entries]
    found = side_by_side.Results()
    try:
        present = found.present(entries)
        side_by_side.run(found, present, loads, args.rounds, args.seed, cores)
        if servers:
            side_by_side.count_calls(found, present, args.pipeline, cores)
            side_by_side.weigh(found, present, idle, cores)
    finally:  # also after an interrupt: what was measured is not lost
        if found.samples or found.failures:
            if servers:
                print(side_table.caption(names, found, cores[0]) + "\n")
            print(side_table.table(names, args.connections, found, servers, servers))
            if args.command == "dropin":
                print("\n" + "\n".join(side_table.removed(args.connections, found)))
    if found.failures:
        name, reason = next(iter(found.failures.items()))
        raise invalid(f"{len(found.failures)} of {len(names)} servers failed, the first: {name}: "
                      f"{reason}")


def _fleet(args: argparse.Namespace) -> None:
    shape = fleet.Shape(args.processes, args.connections, args.idle_timeout, args.duration,
                        (f"--io={args.io}", f"--timer-backend={args.backend}"))
    limit = environment.raise_file_limit()
    if not (files := environment.check_files(limit, shape.most_per_server)).ok:
        raise cannot(f"{files.line()} or more --processes")
    if args.no_build:
        contenders.require_built()
    else:
        study.make_ready(["idlewheel-server"])
    binary = measured_server.inspect(str(contenders.OWN_BINARY))
    if args.backend not in binary.backends:
        raise bad_usage(f"--backend {args.backend!r} is not one of {', '.join(binary.backends)}")
    if args.backend == "none":
        raise bad_usage("--backend none has no timeouts, so its connections never expire")
    measured_server.require_transport(binary, args.io, cpus.usable_cores()[0], contenders.OWN_BINARY)
    try:
        print(fleet.table(fleet.measure(shape, limit)))
    except (Failed, OSError) as error:
        raise invalid(str(error)) from None


def _doctor(args: argparse.Namespace) -> None:
    found = environment.checks(environment.gather(study.ROOT), args.connections)
    for check in found:
        mark = "ok  " if check.ok else "FAIL" if check.must else "note"
        print(f"{mark} {check.line()}")
    failed = [check.name for check in found if check.must and not check.ok]
    if failed:
        raise cannot(f"this machine cannot run the study yet: {', '.join(failed)}")


def _result_folder(path: Path) -> Path:
    if not (path / MANIFEST).is_file():
        raise bad_usage(f"{path} is not a result folder: it has no {MANIFEST}")
    return path


def _report(args: argparse.Namespace) -> None:
    print(build.report(_result_folder(args.folder)))


def _compare(args: argparse.Namespace) -> None:
    a, b = _result_folder(args.a), _result_folder(args.b)
    try:
        print(compare.compare(a, b, args.output, args.force))
    except compare.Refused as error:
        raise bad_usage(f"{error}; --force compares them nevertheless") from None


def _tails(args: argparse.Namespace) -> None:
    print(tails.page(args.file, args.output or args.file.with_suffix(".html")))


COMMANDS = {"load": _load, "servers": _side_by_side, "windows": _side_by_side,
            "dropin": _side_by_side, "traces": _traces, "fleet": _fleet,
            "doctor": _doctor, "report": _report, "compare": _compare,
            "tails": _tails}
MEASURING = {"run", "profile", "load", "servers", "windows", "dropin", "traces", "fleet"}


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, _frame: object) -> None:
    """One signal ends the study; those that follow must not disturb the cleaning up."""
    for each in SIGNALS:
        signal.signal(each, lambda *_: None)
    raise KeyboardInterrupt


def _answer_signals() -> None:
    """Answer all that are not ignored, as nohup ignores SIGHUP. scripts/study blocked them before."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    try:
        _answer_signals()
        args = parser().parse_args(argv)
        with lock.alone() if args.command in MEASURING else nullcontext():
            if args.command in ("run", "profile"):
                _measuring(args, argv)
            else:
                COMMANDS[args.command](args)
        return DONE
    except Stop as stop:
        print(f"study: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("study: interrupted; the same command starts again", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"study: {error.filename or 'the system'}: {error.strerror or error}",
              file=sys.stderr)
        return CANNOT
