"""Folded stacks, read into one tree that all profiles of a page share.

One tree, because then two profiles are aligned by construction: the same stack is the same node.
A profile is a sparse array of self counts over the nodes. Counts become CPU microseconds per
request by one factor per profile (`unit_us`), taken from the server's own clock in that window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import stdev

from report.run import Run
from results import folded
from results.cell import Cell
from results.errors import Unreadable
from results.sample import SHARES, Sample, flags_of, usable

# A stack that stays below this share in every profile of the page is counted in its caller.
PRUNE_SHARE = 0.0005
# Rounds from which the spread between them says more than the counts of stacks do.
ROUNDS_FOR_SPREAD = 3
# Two-sided 99 % quantiles of Student's t, by degrees of freedom from 2; later ones use the last.
# 99 %, not 95 %: a page shows hundreds of frames, and chance must not colour a dozen of them.
T99 = (9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977)


@dataclass
class Tree:
    """Call tree over interned names. Node 0 is the root; a child's number exceeds its parent's."""

    names: list[str] = field(default_factory=lambda: ["all"])
    parents: list[int] = field(default_factory=lambda: [-1])
    _children: dict[tuple[int, str], int] = field(default_factory=dict)

    def node(self, stack: list[str]) -> int:
        at = 0
        for name in stack:
            known = self._children.get((at, name))
            if known is None:
                known = self._children[(at, name)] = len(self.names)
                self.names.append(name)
                self.parents.append(at)
            at = known
        return at

    def path(self, node: int) -> list[str]:
        """Frame names from the root's child down to `node`."""
        found = []
        while node > 0:
            found.append(self.names[node])
            node = self.parents[node]
        return found[::-1]


@dataclass
class Profile:
    """One cell's profile. `counts` are stacks by innermost node; `rounds` the same per round."""

    key: str
    cell: Cell
    us_per_request: float
    requests: int
    lost: int
    flags: list[str]
    shares: dict[str, dict[str, float]]
    unresolved: float | None
    files: list[str]
    counts: dict[int, int]
    rounds: list[tuple[dict[int, int], float]]

    @property
    def total(self) -> int:
        """The number of its stacks."""
        return sum(self.counts.values())

    @property
    def unit_us(self) -> float:
        """CPU microseconds per request that one stack stands for."""
        return self.us_per_request / self.total

    def owner_us(self, group: str) -> float:
        return self.shares.get(group, {}).get("owner", 0.0) * self.us_per_request


def read(run: Run, tree: Tree) -> list[Profile]:
    """Every profiled cell of the run whose folded stacks are there and not empty."""
    found = (_profile(run, tree, cell, usable(samples))
             for cell, samples in run.of_kind("profile").items())
    return sorted((p for p in found if p), key=lambda p: p.cell.sort_key())


def _profile(run: Run, tree: Tree, cell: Cell, samples: list[Sample]) -> Profile | None:
    rounds = _rounds(run, tree, samples)
    merged = _add([counts for counts, _ in rounds]) or _counts(run, tree, samples[0].folded)
    requests = sum(s.requests or 0 for s in samples)
    us = _weighted(samples, requests)
    if not merged or not us:
        return None
    return Profile(cell.key, cell, us, requests, sum(s.lost or 0 for s in samples),
                   flags_of(samples),
                   _mean_shares(samples), _mean([s.unresolved for s in samples]),
                   _files(samples), merged, rounds if len(rounds) > 1 else [])


def _rounds(run: Run, tree: Tree, samples: list[Sample]) -> list[tuple[dict[int, int], float]]:
    found = [(_counts(run, tree, s.round_folded), s.us_per_request) for s in samples]
    return [(counts, us) for counts, us in found if counts and us]


def _counts(run: Run, tree: Tree, name: str | None) -> dict[int, int]:
    path = run.folder / name if name else None
    if not path or not path.is_file():
        return {}
    counts: dict[int, int] = {}
    try:
        stacks = folded.from_text(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unreadable(f"{path}: {error}") from None
    for stack, count in stacks.items():
        node = tree.node(list(stack))
        counts[node] = counts.get(node, 0) + count
    return counts


def _files(samples: list[Sample]) -> list[str]:
    names = [s.folded for s in samples] + [s.round_folded for s in samples]
    return list(dict.fromkeys(name for name in names if name))


def _weighted(samples: list[Sample], requests: int) -> float | None:
    """CPU time of all rounds over requests of all rounds."""
    times = [(s.us_per_request, s.requests or 0) for s in samples]
    if requests and all(us is not None for us, _ in times):
        return sum(us * n for us, n in times) / requests
    return _mean([us for us, _ in times])


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _mean_shares(samples: list[Sample]) -> dict[str, dict[str, float]]:
    tables = [s.shares or {} for s in samples]
    groups = dict.fromkeys(group for table in tables for group in table)
    return {g: {kind: _mean([t.get(g, {}).get(kind, 0.0) for t in tables]) or 0.0
                for kind in SHARES} for g in groups}


def _add(parts: list[dict[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for part in parts:
        for node, count in part.items():
            total[node] = total.get(node, 0) + count
    return total


def inclusive(tree: Tree, counts: dict[int, int]) -> dict[int, int]:
    """Samples in or below each node. Children have larger numbers, so one backward pass does."""
    total = dict(counts)
    for node in range(len(tree.names) - 1, 0, -1):
        if node in total:
            parent = tree.parents[node]
            total[parent] = total.get(parent, 0) + total[node]
    return total


def prune(tree: Tree, profiles: list[Profile], share: float = PRUNE_SHARE) -> Tree:
    """The tree without stacks small in every profile; the profiles are renumbered in place."""
    keep = {0}
    for profile in profiles:
        least = share * profile.total
        keep |= {n for n, count in inclusive(tree, profile.counts).items() if count >= least}
    number = _renumber(tree, keep)
    for profile in profiles:
        profile.counts = _moved(profile.counts, number)
        profile.rounds = [(_moved(counts, number), us) for counts, us in profile.rounds]
    kept = sorted(keep)
    return Tree([tree.names[n] for n in kept],
                [-1 if n == 0 else number[tree.parents[n]] for n in kept])


def _renumber(tree: Tree, keep: set[int]) -> list[int]:
    """New number of every node; a dropped one gets its caller's. A kept node's caller is kept."""
    number: list[int] = []
    kept = 0
    for node in range(len(tree.names)):
        number.append(kept if node in keep else number[tree.parents[node]])
        kept += node in keep
    return number


def _moved(counts: dict[int, int], number: list[int]) -> dict[int, int]:
    moved: dict[int, int] = {}
    for node, count in counts.items():
        moved[number[node]] = moved.get(number[node], 0) + count
    return moved


def spread(tree: Tree, profile: Profile) -> dict[int, tuple[float, float]]:
    """Half-width of the 99 % interval of each node's (self, inclusive) us/request over the rounds.

    Empty with fewer rounds than ROUNDS_FOR_SPREAD: then the counts of stacks bound the noise.
    """
    if len(profile.rounds) < ROUNDS_FOR_SPREAD:
        return {}
    selfs = [_in_us(counts, us, sum(counts.values())) for counts, us in profile.rounds]
    wholes = [_in_us(inclusive(tree, counts), us, sum(counts.values()))
              for counts, us in profile.rounds]
    nodes = {node for whole in wholes for node in whole}
    return {n: (_half_width([s.get(n, 0.0) for s in selfs]),
                _half_width([w.get(n, 0.0) for w in wholes])) for n in nodes}


def _in_us(counts: dict[int, int], us: float, total: int) -> dict[int, float]:
    return {node: count / total * us for node, count in counts.items()}


def _half_width(values: list[float]) -> float:
    quantile = T99[min(len(values) - 3, len(T99) - 1)]
    return quantile * stdev(values) / math.sqrt(len(values))


@dataclass
class Ticks:
    """A line of the study's table: `ticks parent name`, with the callers nested."""

    name: str
    ticks: int
    share: float
    callers: list["Ticks"]


def bottom_up(tree: Tree, profile: Profile, least: float = 0.02, depth: int = 3) -> list[Ticks]:
    """Functions by self ticks; under each its callers, as shares of the line above.

    Lines below `least` of the line above are left out, as in the study's profiler; at the top the
    limit is a half per cent, so that the small backends still appear.
    """
    stacks = [(tree.path(node)[::-1], count) for node, count in profile.counts.items() if node]
    return _callers(stacks, profile.total, 0.005, least, depth + 1)


def _callers(stacks: list[tuple[list[str], int]], total: int, limit: float, least: float,
             depth: int) -> list[Ticks]:
    by_name: dict[str, list[tuple[list[str], int]]] = {}
    for stack, count in stacks:
        if stack and depth:
            by_name.setdefault(stack[0], []).append((stack[1:], count))
    lines = []
    for name, rest in by_name.items():
        ticks = sum(count for _, count in rest)
        if ticks >= limit * total:
            lines.append(Ticks(name, ticks, ticks / total,
                               _callers(rest, ticks, least, least, depth - 1)))
    return sorted(lines, key=lambda line: (-line.ticks, line.name))
