"""study traces: what our server asks of its timers, recorded for timer-bench --replay."""

from __future__ import annotations

import signal
from pathlib import Path

from harness.contenders import own
from harness.measured_server import STOP_LIMIT_S
from harness.plan import SHORT_FLAGS
from harness.side_by_side import started
from harness.window import hold
from harness.wrk import Shape, Wrk
from results.errors import Failed


def record(folder: Path, connections: int, seconds: float, cpus: list[int]) -> list[Path]:
    """A trace of each scenario's timers, and of short timeouts, for timer-bench --replay."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"respond": [], "respond-short": SHORT_FLAGS, "mixed": ["--scenario=mixed"],
             "increasing-timeout": ["--scenario=increasing-timeout"]}
    made = []
    for name, flags in kinds.items():
        path = folder / f"{name}-{connections}.trace"
        recorder = own(name, f"--timer-trace={path}", *flags)
        shape = Shape(connections, 1, int(seconds) + 60)
        with started(recorder, cpus, connections, answers=name.startswith("respond")) as (child, url):
            with Wrk(shape, url, {cpus[-1]}) as wrk:
                hold(seconds, child, wrk)
            child.signal(signal.SIGTERM)
            if child.wait(STOP_LIMIT_S) != 0:
                raise Failed(f"the server did not end well: {child.last_words()}")
        made.append(path)
    return made
