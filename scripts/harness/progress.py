"""One line per measurement on stderr: how far the study is, and how long it still takes."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from results.cell import IOS, Measurement
from results.sample import Sample


def duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def outcome(sample: Sample) -> str:
    """The figure of a sample in a few words."""
    if not sample.valid:
        return f"failed: {sample.error}"
    words = {"load": _cost, "syscalls": _calls, "profile": _share,
             "dwarf": _share}[sample.kind](sample)
    again = " (measured again)" if sample.retried else ""
    return words + again + (f" [{', '.join(sample.flags)}]" if sample.flags else "")


def _cost(sample: Sample) -> str:
    per = "expired" if sample.cell.counts_timeouts else "request"
    pace = (f"{sample.rps / 1000:.1f} k req/s" if sample.server_bound
            else f"server at {sample.cpu.utilisation:.0%}")
    return f"{sample.cpu.us_per_request:.2f} us/{per}, {pace}"


def _calls(sample: Sample) -> str:
    return f"{sample.per_request['total']:.2f} system calls/request"


def _share(sample: Sample) -> str:
    owner = sample.shares["timer"]["owner"]
    return f"timer owns {owner:.1%} of {sample.samples} stacks"


class Progress:
    """Of total measurements, each with its estimate, which is corrected by how long they took."""

    def __init__(self, total: int, done: int, estimate_s: float, out: TextIO | None = None) -> None:
        self._total, self._done, self._left_s = total, done, estimate_s
        self._spent_s = self._planned_s = 0.0
        self._out, self._started = out or sys.stderr, time.monotonic()
        self._overwrites = self._out.isatty()

    def start(self, todo: Measurement) -> None:
        self._started = time.monotonic()
        if self._overwrites:
            self._write(todo, "…")

    def finish(self, todo: Measurement, sample: Sample, estimate_s: float) -> None:
        self._spent_s += time.monotonic() - self._started
        self._planned_s += estimate_s
        self._left_s -= estimate_s
        self._done += 1
        self._write(todo, outcome(sample))

    def end(self) -> None:
        if self._overwrites:
            print(file=self._out)

    def _write(self, todo: Measurement, words: str) -> None:
        pace = self._spent_s / self._planned_s if self._planned_s else 1.0
        cell = todo.cell
        place = f"[{self._done:>{len(str(self._total))}}/{self._total}]"
        line = (f"{place} {todo.kind} {cell.workload} {cell.connections} {cell.backend} "
                f"{cell.rearm}{f' {cell.io}' if cell.io != IOS[0] else ''}: {words}; "
                f"{duration(self._left_s * pace)} left")
        if self._overwrites:
            width = shutil.get_terminal_size().columns - 1
            print("\r" + line[:width].ljust(width), end="", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)
