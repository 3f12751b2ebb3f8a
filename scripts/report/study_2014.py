"""The figures of the 2014 study and of the original Node.js binaries, to stand beside ours.

Sources: joyent/node issue 8160 and its wiki page "Optimizing _unrefActive" (shares of ticks in the
timer function, self), and the binaries of those releases run on one two-core machine (CPU per
request and shares at three levels). They are other programs on other machines: the ratios within
one column are what may be set beside ours, never the absolute figures.
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = (400, 5000, 10000)


@dataclass(frozen=True)
class Past:
    """One implementation of the study and the backend here that stands for it."""

    backend: str
    name: str
    share_2014: str
    node: str | None
    node_cpu_us: tuple[float | None, ...]
    node_share: tuple[float | None, ...]


IMPLEMENTATIONS = (
    Past("ordered-list", "ordered list", "34.4 % self, 48.5 % with its comparison stub",
         "Node 0.11.14", (32.6, 149.0, None), (0.144, 0.533, 0.632)),
    Past("unordered-list", "unordered list", "2.6 % self", "Node 0.12.18", (29.0, 47.8, 43.7),
         (None, None, None)),
    Past("binary-heap", "binary heap", "4.4 % self (6.3 % at 10 000 on macOS)", None,
         (None, None, None), (None, None, None)),
    Past("hierarchical-wheel", "timer wheel", "named, never measured", None, (None, None, None),
         (None, None, None)),
)

# Scenario S2, unordered list, 5000 connections: every request times out.
EXPIRY_2014 = ("4.1 % + 3.1 % of ticks in the expiry pass of the unordered list, 76.9 % in system "
               "calls")
