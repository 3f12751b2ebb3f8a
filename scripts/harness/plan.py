"""What is measured, in which order: presets, measurements and the seeded randomised blocks.

A variant is a backend, its re-arm mode and the server's transport; a workload is a scenario and its
timeouts. A block is every variant once, in random order, under one workload at one number of connections; a round is every
block once, in random order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from results import stats
from results.cell import AA, CONTROL, IOS, Cell, Measurement
from results.errors import bad_usage

STUDY_BACKENDS = ["ordered-list", "unordered-list", "binary-heap", "hierarchical-wheel", "asio",
                  "none"]
WORKLOADS = ["respond", "increasing-timeout", "mixed", "respond+short"]
REARMS = ["lazy", "eager"]

SHORT_IDLE_S = 2.0
SHORT_FLAGS = ["--idle-timeout", "2s", "--request-timeout", "1s"]
SHORT_WINDOW_S = 3 * SHORT_IDLE_S + 0.2  # at least three idle periods
SYSCALL_WINDOW_S = 0.6  # tens of thousands of requests: counts need no more
DWARF_WINDOWS = 2  # windows of a profile: it records a fifth as many stacks per second
TIMEOUT_WINDOW_S = 3.0  # about one timer expires per millisecond: a shorter window has too few

# What a command line may ask for.
MAX_CONNECTIONS = 1_000_000
ROUNDS_LIMIT = 1000
WINDOW_LIMIT_S = 3600

FULL_BUDGET_S = 80 * 60
MAX_ROUNDS = 11  # enough for verdicts among all fifteen backends, both ways
OVERHEAD_S = 0.5  # of a measurement: start, checked GET, stop, drain
FOLD_S = 1.5  # perf's own start, end and script


@dataclass(frozen=True)
class Settings:
    """A whole plan without its order. Two runs may share a folder when these are equal."""

    preset: str
    backends: list[str]
    connections: list[int]
    rearm: list[str]
    io: list[str]
    scenarios: list[str]
    levels: dict[str, list[int]]
    rounds: int  # of the workload respond; a measurement of the others takes longer
    slow_rounds: int  # of every other workload
    seed: int
    window_s: float
    settle_s: float  # of steady load before the window, once all connections are open
    wrk_threads: int
    wrk_duration_s: int | None  # fixed and never cut short (paper), or as long as the cell needs
    retries: int
    aa: bool
    syscall_loads: list[str]
    syscall_levels: list[int]  # those of the workload's levels that are counted; empty: all
    profile_rearm: list[str]
    profile_rounds: int
    profile_window_s: float
    dwarf_level: int  # of respond, at which the profiles' stack walk is checked


_QUICK = Settings(
    preset="quick", backends=STUDY_BACKENDS, connections=[400, 5000, 10_000], rearm=REARMS,
    io=IOS[:1], scenarios=["respond", "increasing-timeout", "respond+short"],
    levels={"respond": [400, 5000, 10_000], "increasing-timeout": [5000], "mixed": [5000],
            "respond+short": [5000]},
    rounds=1, slow_rounds=1, seed=1, window_s=1.8, settle_s=0.5, wrk_threads=1,
    wrk_duration_s=None, retries=1, aa=False, syscall_loads=["respond"], syscall_levels=[5000],
    profile_rearm=["eager"], profile_rounds=1,
    profile_window_s=1.8, dwarf_level=5000)

PRESETS: dict[str, Settings] = {
    "smoke": replace(
        _QUICK, preset="smoke", backends=["ordered-list", "hierarchical-wheel"],
        connections=[50, 100], scenarios=["respond", "increasing-timeout"],
        levels={workload: [50, 100] if workload == "respond" else [100] for workload in WORKLOADS},
        window_s=0.25, settle_s=0.1, retries=0, syscall_levels=[100], profile_window_s=0.4,
        dwarf_level=100),
    "quick": _QUICK,
    "full": replace(
        _QUICK, preset="full", backends=[], scenarios=WORKLOADS, rounds=0, slow_rounds=0,
        levels=_QUICK.levels | {"increasing-timeout": [5000, 10_000]}, window_s=3.0, settle_s=1.0,
        aa=True, syscall_loads=WORKLOADS, syscall_levels=[], profile_rearm=REARMS, profile_rounds=3,
        profile_window_s=3.0),
    "paper": replace(
        _QUICK, preset="paper", rearm=["eager"], scenarios=["respond", "increasing-timeout"],
        levels=_QUICK.levels | {"respond": [400, 10_000]}, window_s=27.0, settle_s=1.0,
        wrk_threads=12, wrk_duration_s=30, profile_window_s=5.0),
}


def settings(preset: str, known: list[str], chosen: dict) -> Settings:
    """The preset with what the user chose on top; known is the server's own list of backends.

    chosen may hold backends, connections, rearm, io, scenarios, rounds, duration, seed and
    only_profiles, which says that rounds and duration are meant for the profiles.
    """
    base = PRESETS[preset]
    backends = chosen.get("backends") or base.backends or known
    unknown = [name for name in backends if name not in known]
    if unknown:
        raise bad_usage(f"unknown backend {unknown[0]!r}; this server has: {', '.join(known)}")
    made = replace(
        base, backends=list(backends), rearm=chosen.get("rearm") or base.rearm,
        io=chosen.get("io") or base.io, scenarios=chosen.get("scenarios") or base.scenarios,
        profile_rearm=chosen.get("rearm") or base.profile_rearm,
        connections=chosen.get("connections") or base.connections,
        rounds=chosen.get("rounds") or base.rounds,
        slow_rounds=chosen.get("rounds") or base.slow_rounds,
        seed=base.seed if chosen.get("seed") is None else chosen["seed"])
    made = replace(_with_duration(made, chosen.get("duration")),
                   levels=_levels(base, chosen.get("connections")))
    if chosen.get("only_profiles"):
        made = replace(made, profile_rounds=chosen.get("rounds") or base.profile_rounds,
                       profile_window_s=chosen.get("duration") or base.profile_window_s)
    if not any(_variants(made, workload) for workload in made.scenarios):
        raise bad_usage("nothing to measure: backend none has no timeouts to wait for, "
                        "so it needs the scenario respond or respond+short")
    return made if made.rounds else _fit_rounds(made, any_window=chosen.get("duration") is None)


def implausible(plan: Settings) -> str | None:
    """Which part of a plan that was read from a file no command line can have asked for."""
    levels = [plan.connections, *plan.levels.values()]
    rounds = [plan.rounds, plan.slow_rounds, plan.profile_rounds, plan.retries]
    windows = [plan.window_s, plan.profile_window_s, plan.settle_s, plan.wrk_duration_s or 1]
    possible = {
        "preset": plan.preset in PRESETS,
        "scenarios": set(plan.scenarios) <= set(WORKLOADS),
        "rearm": set(plan.rearm + plan.profile_rearm) <= set(REARMS),
        "io": bool(plan.io) and set(plan.io) <= set(IOS),
        "connections": plan.levels.keys() == set(WORKLOADS) and all(
            some and all(0 < n <= MAX_CONNECTIONS for n in some) for some in levels),
        "rounds": all(0 <= n <= ROUNDS_LIMIT for n in rounds),
        "duration": all(0 < seconds <= WINDOW_LIMIT_S for seconds in windows),
        "threads": plan.wrk_threads > 0,
    }
    return next((name for name, true in possible.items() if not true), None)


def _with_duration(plan: Settings, seconds: float | None) -> Settings:
    if seconds is None:
        return plan
    if plan.wrk_duration_s is None:
        return replace(plan, window_s=seconds)
    if seconds < 5:
        raise bad_usage("--duration is wrk's own -d in the paper preset: at least 5 seconds")
    return replace(plan, window_s=seconds - 3.0, wrk_duration_s=round(seconds))


def _levels(base: Settings, connections: list[int] | None) -> dict[str, list[int]]:
    """Levels of each workload: those that the user named, else those of the preset."""
    return dict.fromkeys(base.levels, connections) if connections else base.levels


def _fit_rounds(plan: Settings, any_window: bool) -> Settings:
    """As many rounds as fit the time of the full preset, with windows as long as allow six.

    any_window: the windows may be shortened for that. When even the shortest windows do not allow
    six rounds of everything, respond gets them: it is what the verdicts are about.
    """
    def cost(plan: Settings, timed: bool, slow: bool) -> float:
        return sum(estimate_s(plan, m) for m in measurements(plan) if (m.kind == "load") == timed
                   and (m.cell.workload != "respond") == slow)

    def fitting(window_s: float, profile_rounds: int) -> Settings:
        one = replace(plan, rounds=1, slow_rounds=1, window_s=window_s,
                      profile_rounds=profile_rounds)
        left = FULL_BUDGET_S - cost(one, False, False) - cost(one, False, True)
        fast, slow = cost(one, True, False), cost(one, True, True)
        both = max(1, min(MAX_ROUNDS, int(left / (fast + slow))))
        if both >= stats.MIN_ROUNDS or not fast or not slow:
            return replace(one, rounds=both, slow_rounds=both)
        fewer = max(1, int((left - stats.MIN_ROUNDS * fast) / slow))
        return replace(one, rounds=max(both, int((left - fewer * slow) / fast)), slow_rounds=fewer)

    shrinking = ((plan.window_s, plan.profile_rounds), (2.0, 3), (1.5, 2), (1.0, 1))
    tries = [fitting(window_s if any_window else plan.window_s, profile_rounds)
             for window_s, profile_rounds in shrinking]
    return next((t for t in tries if t.slow_rounds >= stats.MIN_ROUNDS), tries[-1])


def _variants(plan: Settings, workload: str) -> list[tuple[str, str]]:
    """Those of one transport."""
    timed = [(b, r) for b in plan.backends if b != CONTROL for r in plan.rearm]
    # The control has no timeouts: it runs once a block, and only where no request needs one.
    control = CONTROL in plan.backends and workload.startswith("respond")
    return timed + ([(CONTROL, "lazy")] if control else [])


def _aa_variant(variants: list[tuple[str, str]]) -> tuple[str, str]:
    favourite = ("hierarchical-wheel", "lazy")
    return favourite if favourite in variants else variants[0]


def _block(plan: Settings, workload: str, connections: int, kind: str) -> list[Cell]:
    scenario, _, short = workload.partition("+")
    variants = _variants(plan, workload)
    if kind in ("profile", "dwarf"):
        variants = [(b, r) for b, r in variants if r in plan.profile_rearm or b == CONTROL]

    def cell(variant: tuple[str, str], io: str, alias: str | None = None) -> Cell:
        return Cell(scenario, short or "default", *variant, connections, alias, io)

    block = [cell(v, io) for io in plan.io for v in variants]
    if plan.aa and kind == "load" and variants:
        block.append(cell(_aa_variant(variants), plan.io[0], AA))
    return block


def _block_levels(plan: Settings, workload: str, kind: str) -> list[int]:
    if kind == "dwarf":
        return [n for n in plan.levels[workload] if n == plan.dwarf_level]
    counted = [n for n in plan.levels[workload] if n in plan.syscall_levels]
    return counted if kind == "syscalls" and counted else plan.levels[workload]


def _rounds_of(plan: Settings, workload: str) -> int:
    return plan.rounds if workload == "respond" else plan.slow_rounds


def _rounds(plan: Settings, kind: str, rounds: int, workloads: list[str]) -> Iterator[Measurement]:
    rng = random.Random(f"{plan.seed}/{kind}")
    for round_ in range(1, rounds + 1):
        blocks = [_block(plan, workload, n, kind) for workload in workloads
                  if kind != "load" or round_ <= _rounds_of(plan, workload)
                  for n in _block_levels(plan, workload, kind)]
        rng.shuffle(blocks)
        for block in blocks:
            rng.shuffle(block)
            yield from (Measurement(kind, round_, cell) for cell in block)


def measurements(plan: Settings) -> list[Measurement]:
    """Every one in the order it is made: timing, system calls, profiles and their check."""
    counted = [workload for workload in plan.scenarios if workload in plan.syscall_loads]
    checked = [workload for workload in plan.scenarios if workload == "respond"]
    return [*_rounds(plan, "load", max(plan.rounds, plan.slow_rounds), plan.scenarios),
            *_rounds(plan, "syscalls", 1, counted),
            *_rounds(plan, "profile", plan.profile_rounds, plan.scenarios),
            *_rounds(plan, "dwarf", 1, checked)]


def window_s(plan: Settings, todo: Measurement) -> float:
    if todo.kind == "syscalls":
        return min(SYSCALL_WINDOW_S, plan.window_s)
    if todo.kind == "profile":
        return plan.profile_window_s
    if todo.kind == "dwarf":
        return DWARF_WINDOWS * plan.profile_window_s
    if todo.cell.timeouts == "short":
        return max(plan.window_s, SHORT_WINDOW_S)
    slow = todo.cell.closes and plan.preset != "smoke"
    return max(plan.window_s, TIMEOUT_WINDOW_S) if slow else plan.window_s


def estimate_s(plan: Settings, todo: Measurement) -> float:
    connect = todo.cell.connections / 8000
    fold = {"profile": FOLD_S, "dwarf": FOLD_S, "syscalls": 0.3}.get(todo.kind, 0.0)
    measured = plan.settle_s + window_s(plan, todo)
    if plan.wrk_duration_s and todo.kind == "load":
        measured = plan.wrk_duration_s
    return OVERHEAD_S + connect + measured + fold


def label(plan: Settings) -> str:
    """How many rounds, and whether they are enough for a verdict among so many variants."""
    if plan.rounds == plan.slow_rounds == 1:
        return "one round: no statistics"
    compared = max(len(_variants(plan, workload)) - 1 + plan.aa for workload in plan.scenarios)
    needed = stats.rounds_needed(compared)
    few = (f"; p < 0.05 among so many variants needs {needed}"
           if min(plan.rounds, plan.slow_rounds) < needed else "")
    if plan.rounds == plan.slow_rounds:
        return f"{plan.rounds} rounds{few}"
    return f"{plan.rounds} rounds of respond, {plan.slow_rounds} of the other workloads{few}"
