"""Owner groups: which part of the program a frame belongs to, by the rules of groups.json."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from results.folded import Stack
from results.sample import SHARES

GROUPS = ["timer", "parser", "asio", "write", "kernel network", "kernel timer", "allocator",
          "other"]
RULES = Path(__file__).with_name("groups.json")


class Groups:
    def __init__(self, path: Path = RULES) -> None:
        rules = json.loads(path.read_text(encoding="utf-8"))
        self._barrier = re.compile(rules["barrier"])
        self._rules = [(rule["group"], re.compile("|".join(rule["match"])))
                       for rule in rules["rules"]]
        self._known: dict[str, str | None] = {}

    def of(self, frame: str) -> str | None:
        """The group of a frame: that of the first rule that matches."""
        if frame not in self._known:
            self._known[frame] = next((g for g, r in self._rules if r.search(frame)), None)
        return self._known[frame]

    def owner(self, stack: Stack) -> str:
        """The group of the innermost frame that has one."""
        return next((g for f in reversed(stack) if (g := self.of(f))), "other")

    def within(self, stack: Stack) -> set[str]:
        """Every group on the stack; the timer's not when it only called the action on top of it."""
        return {g for f in stack if (g := self.of(f)) and g != "timer"} | (
            {"timer"} if "timer" in map(self.of, self._after_barrier(stack)) else set())

    def _after_barrier(self, stack: Stack) -> Stack:
        cuts = [i for i, frame in enumerate(stack) if self._barrier.search(frame)]
        return stack[cuts[-1]:] if cuts else stack

    def shares(self, stacks: Counter[Stack]) -> dict[str, dict[str, float]]:
        """self, inclusive and owner share of each group; the owner column sums to one."""
        counts = {group: dict.fromkeys(SHARES, 0) for group in GROUPS}
        for stack, n in stacks.items():
            leaf, owner = self.of(stack[-1]) or "other", self.owner(stack)
            counts[leaf]["self"] += n
            counts[owner]["owner"] += n
            for group in self.within(stack) | {owner}:
                counts[group]["inclusive"] += n
        total = sum(stacks.values()) or 1
        return {g: {kind: n / total for kind, n in c.items()} for g, c in counts.items()}
