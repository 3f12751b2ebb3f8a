"""The tables of study servers, windows and dropin, in Markdown, and the sentences beside them."""

from __future__ import annotations

import math
import random
import statistics

from harness import syscalls
from harness.contenders import EDITED, FLOOR, RING, STOCK, WITHOUT
from harness.side_by_side import CALL_CONNECTIONS, Results

RESAMPLES = 999


def medians(samples: list[dict]) -> dict[tuple[str, int], dict]:
    groups: dict[tuple[str, int], list[dict]] = {}
    for sample in samples:
        groups.setdefault((sample["name"], sample["connections"]), []).append(sample)
    return {key: {what: statistics.median(s[what] for s in group) for what in ("us", "user_us")}
            for key, group in groups.items()}


def caption(names: list[str], found: Results, cpu: int) -> str:
    """What the figures are, and what they depend on."""
    ratios = [f"to {name}" for name in _bases(names)]
    counted = (f"System calls per request were counted by perf in a run of their own, with "
               f"{CALL_CONNECTIONS} connections" if not found.uncounted else
               f"System calls were not counted: {found.uncounted}")
    return (f"CPU time per request in µs, connecting included; in brackets the ratio "
            f"{', then '.join(ratios)}. {counted}. {syscalls.words(cpu)}")


def table(names: list[str], levels: list[int], found: Results, weighed: bool = False,
          counted: bool = False) -> str:
    """CPU us per request, in brackets the ratio to the first of the names and to the bare ring.

    What was not measured is a dash, and the last column says why.
    """
    columns = _costs(names, levels, found)
    columns += _calls(found) if counted else []
    columns += _idle(found) if weighed else []
    if found.failures:
        columns.append(("failed", {n: why.replace("|", "\\|") for n, why in found.failures.items()},
                        ""))
    rows = [["server", *(head for head, _, _ in columns)]]
    rows.append(["---"] * len(rows[0]))
    rows += [[name, *(cells.get(name, empty) for _, cells, empty in columns)] for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# A column: its head, its cells by the name of the server, and what stands for an absent one.
Column = tuple[str, dict[str, str], str]


def _bases(names: list[str]) -> list[str]:
    """What the figures of the first column are compared with: a floor for each transport."""
    return [names[0], *([RING] if RING in names and names[0] == FLOOR else [])]


def _costs(names: list[str], levels: list[int], found: Results) -> list[Column]:
    costs = medians(found.samples)

    def cost(name: str, level: int) -> str:
        us = costs[name, level]["us"]
        bases = [costs.get((base, level)) for base in _bases(names)]
        ratios = [f"{us / base['us']:.2f}x" if base else "-" for base in bases]
        return f"{us:.2f}" + (f" ({'; '.join(ratios)})" if any(bases) else "")

    def at(level: int) -> list[str]:
        return [name for name in names if (name, level) in costs]

    return [*((f"{level} connections", {name: cost(name, level) for name in at(level)}, "-")
              for level in levels),
            *((f"user mode, {level}",
               {name: f"{costs[name, level]['user_us']:.2f}" for name in at(level)}, "-")
              for level in levels)]


def _calls(found: Results) -> list[Column]:
    return [("system calls per request", {c["name"]: f"{c['total']:.2f}" for c in found.calls}, "-")]


def _idle(found: Results) -> list[Column]:
    return [("bytes per idle connection", {m["name"]: f"{m['bytes']:.0f}" for m in found.memory}, "-"),
            ("CPU while idle", {m["name"]: f"{m['idle_cpu']:.2%}" for m in found.memory}, "-")]


def removed(levels: list[int], found: Results) -> list[str]:
    """How much of what Beast's timeouts cost the one-line edit removes, a sentence for each level."""
    return [sentence for level in levels if (sentence := _removed(level, found))]


# What a round found for Beast's stream, for ours, and without timeouts.
Round = tuple[float, float, float]


def _removed(level: int, found: Results) -> str:
    def rounds(unit: str) -> list[Round]:
        of = [[s[unit] for s in found.samples if (s["name"], s["connections"]) == (name, level)]
              for name in (STOCK, EDITED, WITHOUT)]
        return list(zip(*of))

    if not rounds("us"):
        return ""
    return (f"{level} connections: timeouts of {STOCK} cost {_share(rounds('us'))}. "
            f"In user mode they cost {_share(rounds('user_us'))}.")


def _share(rounds: list[Round]) -> str:
    """Differences are taken within a round, because the machine changes from one to the next."""
    def cost_and_share(chosen: list[Round]) -> tuple[float, float]:
        cost = statistics.median(stock - without for stock, _, without in chosen)
        saved = statistics.median(stock - edited for stock, edited, _ in chosen)
        return cost, saved / cost if cost > 0 else math.nan

    cost, share = cost_and_share(rounds)
    randomness = random.Random(1)
    shares = sorted(cost_and_share(randomness.choices(rounds, k=len(rounds)))[1]
                    for _ in range(RESAMPLES))
    if any(math.isnan(each) for each in shares):
        return f"{cost:.2f} µs a request, which is within the noise"
    low, high = shares[RESAMPLES // 20], shares[-1 - RESAMPLES // 20]
    return (f"{cost:.2f} µs a request, of which {EDITED} removes {share:.0%} "
            f"({low:.0%} to {high:.0%} in nine of ten resamples of the {len(rounds)} rounds)")
