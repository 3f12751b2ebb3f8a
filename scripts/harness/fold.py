"""From perf's text to stacks with readable names, ready to be folded (results/folded.py)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from results.folded import Stack

Stacks = Counter[Stack]
KERNEL = "_[k]"

# Address, symbol, and in parentheses the file, whose path may hold spaces and parentheses too. A
# path begins with "/", and anything else with "["; in a symbol neither follows " (".
_FRAME = re.compile(r"^\s+([0-9a-f]+) (.*?) \(((?:\(unreachable\))?[/\[].*|[^()]*)\)$")
# Files of the kernel and of its modules. The names that are excluded belong to the program.
_KERNEL_FILE = re.compile(r"\[(?!vdso|vsyscall|unknown|heap|stack|anon|uprobes).*\]"
                          r"|/.*\.ko(\.\w+)?$")
_SEPARATORS = re.compile(r"[;\x00-\x1f\x7f-\x9f\u2028\u2029]")  # of frames and of lines
_OURS = re.compile(r"^(main$|server::)")  # on nearly every stack of a server whose names are known
LEAST_OURS = 0.5  # share of the stacks
LEAST_KERNEL = 5  # expected stacks with kernel frames, from which their absence is no chance
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
class Recording:
    """What perf recorded, by stack."""

    stacks: Stacks
    broken: int
    lost: int

    def share(self, wanted: Callable[[str], object]) -> float:
        """The share of stacks with such a frame."""
        total = self.stacks.total()
        return sum(n for s, n in self.stacks.items() if any(map(wanted, s))) / total


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


def _frame(address: str, symbol: str, file: str) -> str:
    upper_half = int(address, 16) >> 63  # where the kernel lies, also when its names are hidden
    kernel = _KERNEL_FILE.match(file) or (file == "[unknown]" and upper_half)
    if symbol == "[unknown]":
        known = file.removesuffix(" (deleted)").rpartition("/")[2].strip("[]")
        name = f"[{_SEPARATORS.sub(':', known) or 'unknown'}]"
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


def parse(text: str) -> Recording:
    """Fold the text of `perf script -F comm,tid,ip,sym,dso`."""
    stacks: Stacks = Counter()
    broken = lost = 0
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line.strip()]
        lost += sum(int(m[1]) for line in lines if (m := _LOST.search(line)))
        lines = [line for line in lines if "PERF_RECORD_LOST" not in line]
        if not lines:
            continue
        header = _HEADER.match(lines[0])
        command = header[1].replace(" ", "_") if header else "unknown"
        matches = [m for line in lines[1:] if (m := _FRAME.match(line))]
        frames = [_frame(*m.groups()) for m in reversed(matches)]
        lost_callers = [LOST_FRAME] if _is_broken(frames) else []
        broken += len(lost_callers)
        stacks[(_SEPARATORS.sub(":", command), *lost_callers, *_collapse(frames))] += 1
    return Recording(stacks, broken, lost)


def in_kernel(frame: str) -> bool:
    return frame.endswith(KERNEL)


def named_in_kernel(frame: str) -> bool:
    return in_kernel(frame) and not frame.startswith("[")


def fault(recording: Recording, system_share: float) -> str | None:
    """Why the shares of a recording would be wrong; system_share is that of the CPU time."""
    total = recording.stacks.total()
    if not total:
        return "perf recorded no stacks"
    expected = total * system_share
    if expected >= LEAST_KERNEL and not recording.share(in_kernel):
        return (f"perf recorded user mode only: no stack of {total} reaches into the kernel, where "
                f"the server spent {system_share:.0%} of its CPU time (study doctor says what "
                "perf lacks)")
    if (found := recording.share(_OURS.match)) < LEAST_OURS:
        return (f"perf found no names: main or server:: stands on {found:.0%} of {total} stacks, "
                f"not on {LEAST_OURS:.0%} (is the server's binary stripped?)")
    return None
