"""Statistics for comparing backends: pure functions, standard library only.

Everything compares positive costs (CPU microseconds per request) as ratios. Within one run the
samples are paired by block, so the tests are paired; two result folders share no blocks, so their
test is not. All randomness comes from the seed that is passed in.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from enum import StrEnum

EXACT_FLIPS = 16  # up to 2^16 sign patterns are enumerated, beyond that they are sampled
SAMPLED_FLIPS = 50_000
RESAMPLES = 10_000
MIN_ROUNDS = 6  # with fewer pairs the sign-flip test cannot reach p < 0.05: rounds_needed()

Result = dict[str, float | int | None]


class Outcome(StrEnum):
    """What a comparison says about a cost."""

    UNTESTED = "untested"  # one round: there are no statistics
    SAME = "same"  # the whole interval lies within the margin
    SLOWER = "slower"
    FASTER = "faster"
    INCONCLUSIVE = "inconclusive"


def hodges_lehmann(values: list[float]) -> float:
    """The median of all pairwise (Walsh) averages: a robust centre of a symmetric sample."""
    pairs = itertools.combinations_with_replacement(values, 2)
    return statistics.median((a + b) / 2 for a, b in pairs)


def bootstrap_interval(values: list[float], seed: int, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the Hodges-Lehmann estimate over resampled blocks."""
    rng = random.Random(seed)
    count = min(RESAMPLES, max(1_000, RESAMPLES * 40 // len(values) ** 2))
    draws = sorted(hodges_lehmann(rng.choices(values, k=len(values))) for _ in range(count))
    cut = int(count * (1 - level) / 2)
    return draws[cut], draws[count - 1 - cut]


def sign_flip_p(values: list[float], seed: int) -> float:
    """Two-sided p of the mean under random signs; exact up to EXACT_FLIPS values."""
    observed = abs(sum(values)) * (1 - 1e-12)
    if len(values) <= EXACT_FLIPS:
        patterns = itertools.product((1, -1), repeat=len(values))
        hits = [abs(sum(map(float.__mul__, values, map(float, s)))) >= observed for s in patterns]
        return sum(hits) / len(hits)
    rng = random.Random(seed)
    hits = [abs(sum(v * rng.choice((1, -1)) for v in values)) >= observed
            for _ in range(SAMPLED_FLIPS)]
    return (1 + sum(hits)) / (1 + len(hits))


def compare_blocks(pairs: list[tuple[float, float]], seed: int) -> Result:
    """Compare (value, baseline) pairs, one a block.

    estimate, low and high are ratios value / baseline: 1.0 is no difference, 1.2 is 20 % dearer.
    One pair gives an estimate alone; without pairs every figure is None.
    """
    logs = [math.log(value / base) for value, base in pairs if value > 0 and base > 0]
    if not logs:
        return {"estimate": None, "low": None, "high": None, "p": None, "n": 0}
    estimate = math.exp(hodges_lehmann(logs))
    if len(logs) == 1:
        return {"estimate": estimate, "low": None, "high": None, "p": None, "n": 1}
    low, high = bootstrap_interval(logs, seed)
    return {"estimate": estimate, "low": math.exp(low), "high": math.exp(high),
            "p": sign_flip_p(logs, seed), "n": len(logs)}


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment, returned in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def rounds_needed(comparisons: int = 1) -> int:
    """The fewest rounds with which Holm's first step over so many sign-flip tests can reach 5 %."""
    return next(n for n in itertools.count(1) if max(1, comparisons) * 2 / 2 ** n < 0.05)


def noise_band(pairs: list[tuple[float, float]]) -> float | None:
    """The 95th percentile of |ratio - 1| over the A/A pairs: what no difference looks like."""
    gaps = sorted(abs(a / b - 1) for a, b in pairs if a > 0 and b > 0)
    return gaps[math.ceil(0.95 * len(gaps)) - 1] if gaps else None


def verdict(low: float | None, high: float | None, p_adjusted: float | None,
            margin: float) -> Outcome:
    """Judge the interval of a ratio; margin is the relative difference that counts as none."""
    if low is None or high is None or p_adjusted is None:
        return Outcome.UNTESTED
    if 1 - margin <= low and high <= 1 + margin:
        return Outcome.SAME
    if p_adjusted < 0.05 and (low > 1 or high < 1):
        return Outcome.SLOWER if low > 1 else Outcome.FASTER
    return Outcome.INCONCLUSIVE


def _midranks(values: list[float]) -> list[int]:
    """Twice the rank of each value, ties sharing their mean: integers, so sums stay exact."""
    ordered = sorted(values)
    first = {v: i for i, v in reversed(list(enumerate(ordered)))}
    last = {v: i for i, v in enumerate(ordered)}
    return [first[v] + last[v] + 2 for v in values]


def _rank_sum_counts(ranks: list[int], size: int) -> dict[int, int]:
    """How many subsets of the given size have each rank sum."""
    counts: list[dict[int, int]] = [{0: 1}] + [{} for _ in range(size)]
    for rank in ranks:
        for chosen in range(size, 0, -1):
            for total, ways in counts[chosen - 1].items():
                counts[chosen][total + rank] = counts[chosen].get(total + rank, 0) + ways
    return counts[size]


def mann_whitney(a: list[float], b: list[float]) -> Result:
    """The unpaired two-sided Mann-Whitney test, exact with ties.

    shift is the Hodges-Lehmann ratio a / b (the median of all pairwise ratios); p is None when
    a side is empty.
    """
    if not a or not b:
        return {"u": None, "p": None, "shift": None, "n_a": len(a), "n_b": len(b)}
    ranks = _midranks(a + b)
    centre = len(a) * (len(a) + len(b) + 1)
    observed = sum(ranks[: len(a)])
    counts = _rank_sum_counts(ranks, len(a))
    extreme = sum(w for t, w in counts.items() if abs(t - centre) >= abs(observed - centre))
    return {"u": observed / 2 - len(a) * (len(a) + 1) / 2, "p": extreme / sum(counts.values()),
            "shift": statistics.median(x / y for x in a for y in b), "n_a": len(a), "n_b": len(b)}
