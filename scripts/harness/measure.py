"""One measurement: a fresh pinned server, wrk on the other core, and a steady window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path

from harness import fold, gates, perf, plan
from harness.wrks import Wrks
from harness.machines import There
from harness.measured_server import Binary, Serving
from harness.place import Here
from harness.plan import Settings
from harness.window import Costs, Target, costs, longest_s, observe, steady, timed_out
from harness.wrk import Shape, Wrk
from results import folded
from results.cell import Measurement
from results.errors import Failed
from results.groups import Groups
from results.sample import Sample, Totals, Window

DRAIN_LIMIT_S = 5.0
MARGIN_S = 1.0  # of the paper preset: the window ends this long before wrk does


@dataclass(frozen=True)
class Bench:
    """What all measurements of a study share."""

    binary: Binary
    settings: Settings
    folder: Path
    place: Here | There
    groups: Groups = field(default_factory=Groups)


def make_sample(bench: Bench, todo: Measurement) -> Sample:
    """The sample of a measurement. A flagged one is made once more, and the better one is kept.

    Better is what could be measured; then what has fewer flags; then what was disturbed less.
    """
    attempts = []
    for _ in range(1 + bench.settings.retries):
        attempts.append(_attempt(bench, todo))
        if attempts[-1].valid and not attempts[-1].flags:
            break
    kept = min(attempts, key=gates.badness)  # the first of equals
    kept.retried = len(attempts) > 1
    if kept.stacks:
        _write_stacks(bench.folder, todo, kept)
    return kept


def _write_stacks(folder: Path, todo: Measurement, found: Sample) -> None:
    if todo.kind == "dwarf":
        found.folded = folded.dwarf_file(todo.cell)
        folded.write(folder / found.folded, folded.to_text(found.stacks))
        return
    found.folded = folded.file_of(todo.cell)
    found.round_folded = folded.round_file(todo.cell, todo.round)
    folded.write_round(folder, todo.cell, todo.round, found.stacks)


def _attempt(bench: Bench, todo: Measurement) -> Sample:
    t0 = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    try:
        found = _KINDS[todo.kind](bench, todo)
    except (Failed, OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
        found = Sample.of(todo, valid=False, flags=gates.of_failure(error), error=reason)
    found.t0 = t0
    return found


def shape(settings: Settings, todo: Measurement) -> Shape:
    connections = todo.cell.connections
    if settings.wrk_duration_s and todo.kind == "load":
        return Shape(connections, settings.wrk_threads, settings.wrk_duration_s, True)
    longest = longest_s(settings.settle_s + plan.window_s(settings, todo))
    return Shape(connections, settings.wrk_threads, longest)


@contextmanager
def _loaded(bench: Bench, todo: Measurement) -> Iterator[tuple[Serving, Target, Wrk | Wrks]]:
    """The server under steady load; afterwards both are gone and the sockets drained.

    The caller ends wrk; the server must then stop cleanly.
    """
    place = bench.place
    sockets = place.sockets()
    with place.server(bench.binary, todo.cell) as server:
        target = place.target(server)
        with place.load(shape(bench.settings, todo), server.url) as wrk:
            # A gate judges the connections that are missing.
            steady(target, wrk, wrk.opened, bench.settings.settle_s)
            yield server, target, wrk
        code = server.stop()
        if code != 0:
            raise Failed(f"server ended with {code} on SIGTERM: {server.last_words()}")
    _drain(place, sockets)


def _drain(place: Here | There, sockets: int) -> None:
    """Wait for our sockets to go. TIME_WAIT may stay: the next server has a new port."""
    limit = time.monotonic() + DRAIN_LIMIT_S
    while place.sockets() > sockets + 10 and time.monotonic() < limit:
        time.sleep(0.02)


def _costs(window: Window, todo: Measurement) -> Costs:
    return costs(window, "timed_out" if todo.cell.counts_timeouts else "requests")


def with_costs(todo: Measurement, window: Window, opened: int) -> Sample:
    """A sample of the window, with what each request cost. opened: connections that wrk opens."""
    cost = _costs(window, todo)
    found = Sample.of(todo, window, connections_asked=opened)
    found.server_bound = found.cpu.saturated
    found.cpu.us_per_request = cost.us
    found.timers_per_request = cost.timers
    return found


def _load(bench: Bench, todo: Measurement) -> Sample:
    settings = bench.settings
    start = time.monotonic()
    with _loaded(bench, todo) as (server, target, wrk):
        seconds = plan.window_s(settings, todo)
        fixed = settings.wrk_duration_s
        if fixed:
            seconds = min(seconds, start + fixed - MARGIN_S - time.monotonic())
        window = observe(target, wrk, seconds)
        report = wrk.finish(now=not fixed)
        last = server.stats()
    found = with_costs(todo, window, wrk.opened)
    found.wrk, found.clients = report, wrk.by_host()
    found.totals = Totals(responses=last["responses"] - 1, timed_out=timed_out(last))  # -1: our GET
    found.flags = gates.of_load(found)
    return found


def _syscalls(bench: Bench, todo: Measurement) -> Sample:
    with _loaded(bench, todo) as (server, target, wrk):
        with bench.place.call_counter(server.pid) as recorder:
            window = _recorded(bench, todo, target, wrk, recorder)
            text = recorder.end()
        wrk.finish()
    found = with_costs(todo, window, wrk.opened)
    per = perf.syscalls_per(perf.parse_stat(text), _costs(window, todo).events)
    return Sample.of(todo, _counts(window), per_request=per, flags=gates.of_any(found))


def _recorded(bench: Bench, todo: Measurement, target: Target, wrk: Wrk | Wrks,
              recorder: perf.Recorder) -> Window:
    seconds = plan.window_s(bench.settings, todo)
    return observe(target, wrk, seconds, recorder.perf, recorder.switched_on)


def _counts(window: Window) -> Window:
    """What is kept of the window of a measurement that is not about time."""
    return Window(window_s=window.window_s, requests=window.requests, timed_out=window.timed_out,
                  connections_open=window.connections_open, host=window.host)


def _profile(bench: Bench, todo: Measurement) -> Sample:
    walk = "dwarf" if todo.kind == "dwarf" else "frame pointers"
    with _loaded(bench, todo) as (server, target, wrk):
        with bench.place.profiler(server.pid, walk) as recorder:
            window = _recorded(bench, todo, target, wrk, recorder)
            recorder.end()
            wrk.finish()
            server.stop()  # before the text is made: folding needs the core
            recording = fold.parse(recorder.script())
    counted = with_costs(todo, window, wrk.opened)
    if wrong := fold.fault(recording, counted.cpu.system_share):
        raise Failed(wrong)
    recorded = recording.stacks.total()
    cost = counted.cpu.us_per_request
    shares = bench.groups.shares(recording.stacks)
    return Sample.of(
        todo, _counts(window), samples=recorded, lost=recording.lost,
        frequency=perf.WALKS[walk][1], us_per_request=cost, shares=shares,
        unresolved=recording.broken / recorded,
        timer_us_per_request={k: v * cost for k, v in shares["timer"].items()},
        flags=gates.of_profile(counted, recorded, perf.WALKS[walk][1]),
        stacks=recording.stacks)


_KINDS = {"load": _load, "syscalls": _syscalls, "profile": _profile, "dwarf": _profile}
