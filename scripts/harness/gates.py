"""The gates of a sample. Their limits are fixed here, before anything is measured.

A sample that fails one is measured a second time, then kept with its flags; none is deleted.
"""

from __future__ import annotations

import math

from results.errors import HostLost
from results.sample import Cpu, Sample

STEAL_LIMIT_PCT = 1.0
FOREIGN_LIMIT_PCT = 10.0  # of one core
LEAST_STACKS = 0.75  # of frequency times CPU seconds
COUNT_LIMIT = 0.02  # two counts of one thing may differ by this share


def of_load(sample: Sample) -> list[str]:
    """The flags of a load sample."""
    errors = sample.wrk.errors
    # Where the server closes, its closes are wrk's read errors.
    bad = sum(errors.values()) - (errors["read"] if sample.cell.closes else 0)
    found = {
        "socket_errors": bad > 0,
        "wrong_counts": not counts_agree(sample),
        "silent_host": any(not part["requests"] + part["errors"]
                           for part in (sample.clients or {}).values()),
        "cpu_clocks_differ": not clocks_agree(sample.cpu),
    }
    return of_any(sample) + [name for name, failed in found.items() if failed]


def of_any(sample: Sample) -> list[str]:
    """The flags that a sample of any kind can get, from its window and its surroundings.

    What the machine does not count is not judged.
    """
    wanted = sample.connections_asked
    least = math.floor(wanted * 0.99) if sample.cell.closes else wanted
    found = {
        "steal": (sample.host.steal_pct or 0) > STEAL_LIMIT_PCT,
        "foreign_load": (sample.host.foreign_pct or 0) > FOREIGN_LIMIT_PCT,
        "missing_connections": sample.connections_open < least,
    }
    return [name for name, failed in found.items() if failed]


def of_profile(sample: Sample, stacks: int, frequency: int) -> list[str]:
    """The flags of a profile of so many stacks; the sample has the figures of its window."""
    expected = sample.cpu.utilisation * sample.window_s * frequency
    found = {
        "few_stacks": stacks < LEAST_STACKS * expected - 2 * math.sqrt(expected),
    }
    return of_any(sample) + [name for name, failed in found.items() if failed]


def of_failure(error: Exception) -> list[str]:
    """The flags of a sample that could not be made."""
    found = {
        "failed": True,
        "lost_host": isinstance(error, HostLost),
    }
    return [name for name, true in found.items() if true]


def badness(sample: Sample) -> tuple[bool, int, float]:
    """make_sample() keeps the attempt at a measurement for which this is smallest."""
    host = sample.host
    disturbed = 0.0 if host is None else ((host.steal_pct or 0) / STEAL_LIMIT_PCT +
                                          (host.foreign_pct or 0) / FOREIGN_LIMIT_PCT)
    return (not sample.valid, len(sample.flags), disturbed)


def counts_agree(sample: Sample) -> bool:
    """wrk's and the server's totals, but for what was under way when wrk stopped."""
    a, b = sample.wrk.requests, sample.totals.responses
    if sample.cell.counts_timeouts:
        a, b = sample.wrk.errors["read"], sample.totals.timed_out
    return abs(a - b) <= COUNT_LIMIT * max(a, b) + sample.connections


def clocks_agree(cpu: Cpu) -> bool:
    """The server's own clock against the kernel's view of it from outside."""
    inside = cpu.user_s + cpu.sys_s
    return abs(inside - cpu.outside_s) <= COUNT_LIMIT * inside + 0.03
