"""The sub-commands that measure: run and profile, from preparing to the last sample."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from harness import cpus, environment, machines, measure, measured_server, perf, plan, resume
from harness.measured_server import Binary
from harness.place import Here
from harness.plan import Settings
from harness.process import Child, run
from harness.progress import Progress, duration
from results import journal, manifest as manifests
from results.cell import IO_URING, Cell, Measurement
from results.errors import INTERRUPTED, HostLost, Stop, bad_usage, cannot, invalid

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "build/release/server/idlewheel-server"
PREPARE_LIMIT_S = 3600.0
FAILURES_IN_A_ROW = 3  # then it is not the measurements that are wrong


@dataclass(frozen=True)
class Options:
    """A parsed command line of run or profile."""

    argv: list[str]
    kinds: list[str]
    preset: str
    chosen: dict
    folder: Path | None
    binary: Path | None
    build: bool
    report: Callable[[Path], Path] | None  # makes the report of a folder, if one is wanted
    hosts: machines.Asked | None = None  # where it measures, if not here

    @property
    def profiles(self) -> bool:
        return "profile" in self.kinds

    @property
    def only_profiles(self) -> bool:
        return "load" not in self.kinds


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def execute(options: Options) -> None:
    """Prepare, check, measure, report; prints the path of what it made."""
    manifest = resume.read_manifest(options.folder) if options.folder else None
    if options.build:
        _set_up()
    facts = environment.gather(ROOT, measures=not options.hosts)
    _require(facts, options, manifest)
    if options.build:
        _build(["idlewheel-server"] + ([] if options.hosts else ["syscall_cost"]))
    path = (options.binary or BINARY).resolve()
    with measured_server.private_copy(path) as copy:
        binary = measured_server.inspect(str(copy), str(path))
        if not options.hosts:
            _study(options, manifest, Here(*cpus.pair(facts.cores), facts), path, binary)
            return
        with machines.hosts(options.hosts) as there:
            _prepare_hosts(there, options, manifest, binary)
            _study(options, manifest, there, path, binary)


def _prepare_hosts(there: machines.There, options: Options, manifest: dict | None,
                   binary: Binary) -> None:
    levels, _ = _asked_for(options, manifest)
    if min(levels) < len(options.hosts.clients):
        raise bad_usage(f"--connections {min(levels)}: {len(options.hosts.clients)} client hosts need "
                        "a connection each")
    try:
        there.prepare(binary, max(levels), say, options.profiles)
    except HostLost as error:
        raise cannot(str(error)) from None
    if options.profiles and there.unprofiled:
        if options.only_profiles:
            raise cannot(f"no profiles can be recorded on {options.hosts.server}: {there.unprofiled}")
        say(f"note: no profiles are recorded on {options.hosts.server}: {there.unprofiled}")


def _study(options: Options, manifest: dict | None, place: Here | machines.There, path: Path,
           binary: Binary) -> None:
    """Measure the binary, a copy of what lies at path, and report."""
    planned = _planned(options, manifest, binary, place)
    if IO_URING in {each.cell.io for each in planned.measurements}:
        place.require_transport(binary, IO_URING, path)
    folder, manifest = _open_folder(options, planned, path, binary, place)
    with place.beside_the_load():
        bench = measure.Bench(binary, planned.settings, folder, place)
        _make_samples(folder, manifest, planned, bench)
    _conclude(folder, options)


# ---- before measuring ----


def _prepare(words: str, argv: list[str], asks: bool = False) -> None:
    try:
        child = Child(argv, cwd=ROOT, visible=True, asks=asks)
    except OSError as error:
        raise cannot(f"{words}: {argv[0]}: {error.strerror}") from None
    with child:
        code = child.wait(PREPARE_LIMIT_S)
    if code != 0:
        raise cannot(f"{words} failed ({shlex.join(argv)}: exit {code})")


def _set_up() -> None:
    asks = os.geteuid() != 0 and sys.stdin is not None and sys.stdin.isatty()
    _prepare("setting up", [str(ROOT / "scripts/setup")], asks)


def _build(targets: list[str]) -> None:
    _prepare("configuring", [str(ROOT / "scripts/configure"), "release"])
    _prepare("building", ["cmake", "--build", "--preset", "release", "--target", *targets])


def make_ready(targets: list[str]) -> None:
    """Installs what is missing and builds these; says on stderr what it does."""
    _set_up()
    _build(targets)


def _require(facts: environment.Facts, options: Options, manifest: dict | None) -> None:
    """End the program with the first thing that is missing for what was asked."""
    levels, ios = _asked_for(options, manifest)
    if options.hosts:
        found = environment.checks_of_control(facts, bool(options.report))
    else:
        found = environment.checks(facts, max(levels), options.profiles, bool(options.report),
                                   IO_URING in ios)
    failed = [check for check in found if check.must and not check.ok]
    if failed:
        raise cannot(failed[0].line())
    for check in found:
        if not check.ok and check.name in environment.NOTED:
            say(f"note: {check.line()}")


def _asked_for(options: Options, manifest: dict | None) -> tuple[list[int], list[str]]:
    """Numbers of connections, and transports."""
    base = _profiled_plan(options, manifest)
    levels, ios = (options.chosen.get(name) or getattr(base, name) for name in ("connections", "io"))
    return levels, ios


def _profiled_plan(options: Options, manifest: dict | None) -> Settings:
    """The plan of the folder that profiles are added to, else the preset."""
    if manifest and options.only_profiles:
        return resume.settings_of(manifest)
    return plan.PRESETS[options.preset]


@dataclass(frozen=True)
class Planned:
    settings: Settings
    measurements: list[Measurement]


def _planned(options: Options, manifest: dict | None, binary: Binary,
             place: Here | machines.There) -> Planned:
    """What to measure. profile takes the plan of its folder, narrowed by what the user chose."""
    if manifest and options.only_profiles:
        settings = resume.settings_of(manifest)
        _refuse_others(settings, options.chosen)
        todo = _narrowed(settings, options.chosen, binary.backends)
    else:
        settings = plan.settings(options.preset, binary.backends, options.chosen)
        todo = plan.measurements(settings)
    kinds = set(options.kinds)
    if place.unprofiled:
        kinds -= {"profile", "dwarf"}
    if place.uncounted_calls and "syscalls" in kinds:
        say(f"note: no system calls are counted: {place.uncounted_calls}")
        kinds.discard("syscalls")
    return Planned(settings, [each for each in todo if each.kind in kinds])


def _refuse_others(settings: Settings, chosen: dict) -> None:
    """Profiles that are added to a folder are made as its own, or they could not be compared."""
    made_with = {"rounds": settings.profile_rounds, "duration": settings.profile_window_s}
    for flag, there in made_with.items():
        if chosen[flag] not in (None, there):
            raise bad_usage(f"--{flag} {chosen[flag]:g}: the profiles of this folder have "
                            f"{there:g}; name a new folder with -o")


def _narrowed(settings: Settings, chosen: dict, known: list[str]) -> list[Measurement]:
    kept = {"backends": settings.backends, "scenarios": settings.scenarios,
            "rearm": settings.rearm, "io": settings.io, "rounds": settings.rounds, "seed": settings.seed}
    wanted = plan.settings(settings.preset, known,
                           kept | {k: v for k, v in chosen.items() if v is not None})
    if not chosen["connections"]:
        wanted = replace(wanted, connections=settings.connections, levels=settings.levels)
    return plan.measurements(replace(
        wanted, profile_rearm=chosen["rearm"] or settings.profile_rearm,
        profile_rounds=settings.profile_rounds))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _open_folder(options: Options, planned: Planned, path: Path, binary: Binary,
                 place: Here | machines.There) -> tuple[Path, dict]:
    """The folder to write to and its manifest: continued when it is this run, else a new one."""
    entry = resume.plan_entry(planned.settings, planned.measurements)
    asked = resume.Study(entry, _sha256(Path(binary.path)), place.fingerprint(path))
    results = ROOT / "results"
    folder = options.folder or resume.unfinished(results, asked)
    manifest = resume.read_manifest(folder) if folder else None
    if manifest:
        resume.refuse_to_mix(folder, manifest, asked)
        say(f"continuing in {folder}")
        added = [i for i in entry["cells"] if i not in set(manifest["plan"]["cells"])]
        manifest["plan"]["cells"] += added
    else:
        folder = folder or results / resume.new_id(options.preset)
        if folder.is_dir() and any(folder.iterdir()):
            raise bad_usage(f"{folder} is not empty and holds no study; choose another with -o")
        manifest = _manifest(options, planned, folder, path, binary, asked, place)
    manifest["finished"] = False
    manifests.write(folder, manifest)
    return folder, manifest


def _git() -> dict:
    """The commit of these scripts; unknown where they are no repository of their own."""
    def ask(*words: str) -> str | None:
        code, said, _ = run(["git", "-C", str(ROOT), *words], 10)
        return None if code else said.strip()

    sha, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain")
    known = ask("rev-parse", "--show-prefix") == "" and None not in (sha, changes)
    return {"sha": sha, "dirty": bool(changes)} if known else {"sha": None, "dirty": None}


def _commands(settings: Settings, place: Here | machines.There) -> dict:
    example = Cell("respond", "default", "BACKEND", "REARM", max(settings.connections))
    wrk = measure.shape(settings, Measurement("load", 1, example))
    argv = wrk.argv(f"http://{'ADDRESS' if place.address else '127.0.0.1'}:PORT",
                    None if wrk.as_published else place.script)
    count = f"-c{wrk.connections}"
    return {"server": shlex.join(measured_server.argv("idlewheel-server", example, place.address)),
            "wrk": shlex.join(["-cCONNECTIONS" if a == count else a for a in argv]),
            "perf": shlex.join(perf.record_argv("PID"))}


def _manifest(options: Options, planned: Planned, folder: Path, path: Path, binary: Binary,
              asked: resume.Study, place: Here | machines.There) -> dict:
    settings = planned.settings
    return {
        "schema": manifests.SCHEMA, "id": folder.resolve().name, "preset": settings.preset,
        "argv": options.argv, "command": shlex.join(["scripts/study", *options.argv]),
        "seed": settings.seed,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rounds": settings.rounds, "label": plan.label(settings), "git": _git(),
        "binary": {"path": os.fsencode(path).decode(errors="replace"),
                   "sha256": asked.sha256, "version": binary.version, "commit": binary.commit},
        "env": asked.env, "plan": asked.plan,
        "commands": _commands(settings, place), "finished": False,
    }


# ---- measuring ----


def _make_samples(folder: Path, manifest: dict, planned: Planned, bench: measure.Bench) -> None:
    done = {sample.id for sample in journal.drop_failed(folder)}
    due = [each for each in planned.measurements if each.id not in done]
    estimates = [plan.estimate_s(planned.settings, each) for each in due]
    say(f"{len(due)} measurements to make, about {duration(sum(estimates))}, into {folder}")
    progress = Progress(len(planned.measurements), len(planned.measurements) - len(due),
                        sum(estimates))
    failures = 0
    try:
        for todo, estimate in zip(due, estimates, strict=True):
            progress.start(todo)
            sample = measure.make_sample(bench, todo)
            sample.order = len(done)
            journal.append(folder, sample)
            done.add(todo.id)
            progress.finish(todo, sample, estimate)
            failures = 0 if sample.valid else failures + 1
            if failures == FAILURES_IN_A_ROW:
                raise invalid(f"{failures} measurements in a row failed, the last with: "
                              f"{sample.error}")
    except KeyboardInterrupt:
        progress.end()
        again = _resume_command(manifest, folder)
        raise Stop(f"interrupted; continue with: {again}", INTERRUPTED) from None
    progress.end()
    manifest["finished"] = done >= set(manifest["plan"]["cells"])
    manifests.write(folder, manifest)


def _resume_command(manifest: dict, folder: Path) -> str:
    argv = manifest["argv"]
    named = any(a == "-o" or a.startswith("--output") for a in argv)
    return shlex.join(["scripts/study", *argv, *([] if named else ["-o", str(folder)])])


# ---- after measuring ----


def _conclude(folder: Path, options: Options) -> None:
    print(options.report(folder) if options.report else folder, flush=True)
    failed = [sample for sample in journal.read(folder) if not sample.valid]
    if failed:
        raise invalid(f"{len(failed)} measurements failed; the first: {failed[0].id}: "
                      f"{failed[0].error}")
