"""From perf's text to folded stacks with readable names, and to shares per owner group.

Folded stacks are the common format: frames from the outermost to the innermost joined by ";", a
space, the number of samples. Kernel frames carry the customary suffix _[k].
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

Stack = tuple[str, ...]
KERNEL = "_[k]"
GROUPS = ["timer", "parser", "asio", "write", "kernel network", "kernel timer", "allocator",
          "other"]

_FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \((.*)\)$")
_HEADER = re.compile(r"^\s*(\S.*?)\s+\d+\s*$")
_LOST = re.compile(r"PERF_RECORD_LOST\w*\D+(\d+)")
# Where an unbroken user stack begins; anything else at the outer end lost its caller.
_ROOTS = re.compile(r"^(_start|__libc_start_\w+|main|start_thread|__?clone3?|thread_start"
                    r"|execute_native_thread_routine|ret_from_fork\w*)$")
_THREAD = "std::thread::_State_impl"  # what a thread of ours runs; below it is only libstdc++
LOST_FRAME = "[callers lost]"
_OPERATOR = re.compile(r"\boperator\s*(\(\)|\[\]|->\*?|<=>|<<=?|>>=?|[<>]=?)")
_SYMBOLS = {"(": "\x01", ")": "\x02", "<": "\x03", ">": "\x04", "[": "\x05", "]": "\x06",
            "-": "\x07", "*": "\x08", "=": "\x0e"}
_PLUMBING = re.compile(
    r"^asio::(execution::|associated_|async_result|async_initiate|bind_|binder|call_|composed|"
    r"any_|base_from|completion_|dispatch|post|defer|executor_|handler_|initiate_|initiate<|"
    r"io_context::basic_executor|prefer|require|thread_|transfer_|work_|async_compose|"
    r"basic_stream_socket::(async_|initiate_)|io_object_|\w*_op::(ptr::|do_perform$))"
    r"|^std::(__)?invoke|^std::(move_only_)?function|^beast::detail::|^beast::async_base")
PLUMBING_FRAME = "asio::[plumbing]"


@dataclass(frozen=True)
class Profile:
    stacks: Counter[Stack]
    samples: int
    broken: int
    lost: int


def _protect(name: str) -> str:
    """Hide the brackets of operator names and of (anonymous namespace) from the bracket scan."""
    def hide(match: re.Match[str]) -> str:
        return "".join(_SYMBOLS.get(c, c) for c in match[0].replace(" ", ""))

    return _OPERATOR.sub(hide, name.replace("(anonymous namespace)", "{anonymous}"))


def _reveal(name: str) -> str:
    for symbol, mark in _SYMBOLS.items():
        name = name.replace(mark, symbol)
    return name


def _drop_brackets(name: str) -> str:
    """Drop every balanced <...> and (...); what never closes is kept."""
    kept: list[str] = []
    opened: list[tuple[str, int]] = []
    for char in name:
        if char in "<(":
            opened.append((char, len(kept)))
        kept.append(char)
        # Inside parentheses a ">" is an operator of an expression, not an end.
        if opened and opened[-1][0] + char in ("<>", "()"):
            del kept[opened.pop()[1]:]
    return "".join(kept)


def _drop_return_type(name: str) -> str:
    head, operator, tail = name.partition("operator")
    head = head.rsplit(" ", 1)[-1]
    return head + operator + tail


@lru_cache(maxsize=65_536)
def shorten(name: str) -> str:
    """A C++ name without arguments, template arguments and return type; others as they are.

    Names of different backends' servers become equal, so that their profiles align by stack.
    """
    if "::" not in name and "(" not in name and "<" not in name:
        return name.replace(";", ":")
    name = re.sub(r"\[(abi:\w+|clone [^\]]*)\]", "", name)
    name = _drop_brackets(_protect(name))
    name = re.sub(r"(\s+(const|volatile|noexcept)|\s*&{1,2}|\.(isra|constprop|part|cold|lto_priv)"
                  r"(\.\d+)*|@plt|@@?[\w.]+)+\s*$", "", name)
    name = _reveal(_drop_return_type(name.strip()))
    name = re.sub(r"\bstd::__(cxx11|1)::", "std::", name)
    name = name.replace("boost::asio::detail::", "asio::").replace("boost::asio::", "asio::")
    return name.replace("boost::", "").replace(";", ":")


def _frame(symbol: str, dso: str) -> str:
    kernel = dso.startswith("[kernel") or dso.startswith("[guest") or dso.endswith(".ko")
    if symbol == "[unknown]":
        name = f"[{Path(dso).name.strip('[]') or 'unknown'}]"
    else:
        name = symbol if kernel else shorten(symbol)
    return name + KERNEL if kernel else name


def _collapse(frames: list[str]) -> list[str]:
    """One frame for direct recursion, one for a run of Asio's calls that only pass a handler on."""
    plain = [PLUMBING_FRAME if _PLUMBING.match(f) else f for f in frames]
    return [f for i, f in enumerate(plain) if i == 0 or f != plain[i - 1]]


def _is_broken(frames: list[str]) -> bool:
    """frames without the command, outermost first.

    The C library keeps no frame pointers: its calls that may be cancelled (send, recv, epoll_wait)
    use that register for themselves, so what called them is not known.
    """
    return not frames or not (_ROOTS.match(frames[0])
                              or any(f.startswith(_THREAD) for f in frames[:3]))


def parse(text: str) -> Profile:
    """Fold the text of `perf script -F comm,tid,ip,sym,dso`."""
    stacks: Counter[Stack] = Counter()
    broken = lost = 0
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.strip()]
        lost += sum(int(m[1]) for line in lines if (m := _LOST.search(line)))
        lines = [line for line in lines if "PERF_RECORD_LOST" not in line]
        if not lines:
            continue
        header = _HEADER.match(lines[0])
        command = header[1].replace(" ", "_") if header else "unknown"
        matches = [m for line in lines[1:] if (m := _FRAME.match(line))]
        frames = [_frame(m[1], m[2]) for m in reversed(matches)]
        lost_callers = [LOST_FRAME] if _is_broken(frames) else []
        broken += len(lost_callers)
        stacks[(command.replace(";", ":"), *lost_callers, *_collapse(frames))] += 1
    return Profile(stacks, sum(stacks.values()), broken, lost)


def to_text(stacks: Counter[Stack]) -> str:
    return "".join(f"{';'.join(s)} {n}\n" for s, n in sorted(stacks.items()))


def from_text(text: str) -> Counter[Stack]:
    stacks: Counter[Stack] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def merge(texts: Iterable[str]) -> str:
    """The folded stacks of several rounds as one."""
    return to_text(sum((from_text(text) for text in texts), Counter()))


class Groups:
    """The ordered rules of groups.json."""

    def __init__(self, path: Path = Path(__file__).with_name("groups.json")) -> None:
        rules = json.loads(path.read_text())
        self._barrier = re.compile(rules["barrier"])
        self._rules = [(rule["group"], re.compile(rule["match"])) for rule in rules["rules"]]
        self._known: dict[str, str | None] = {}

    def of(self, frame: str) -> str | None:
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
        counts = {g: {"self": 0, "inclusive": 0, "owner": 0} for g in GROUPS}
        for stack, n in stacks.items():
            leaf, owner = self.of(stack[-1]) or "other", self.owner(stack)
            counts[leaf]["self"] += n
            counts[owner]["owner"] += n
            for group in self.within(stack) | {owner}:
                counts[group]["inclusive"] += n
        total = sum(stacks.values()) or 1
        return {g: {kind: n / total for kind, n in c.items()} for g, c in counts.items()}
