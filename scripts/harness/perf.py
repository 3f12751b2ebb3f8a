"""perf, switched on only inside the steady window, and its tracepoint counts."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from harness import fold, scratch
from harness.process import Child, number_of, run, text_of
from results.errors import Failed

# How stacks are walked -> perf's name for it, and stacks per second. The frequencies are primes, so
# they do not beat with the 1 ms ticks of the server or the kernel's 4 ms. Frame pointers cost next
# to nothing; DWARF copies 8 KiB of memory for each stack, and serves as a check on them.
WALKS = {"frame pointers": ("fp", 997), "dwarf": ("dwarf,8192", 199)}
TRACING = "/sys/kernel/tracing"
EVENT = "cpu-clock"  # a timer, not a hardware counter: guests often have none
ACK_LIMIT_S = 10.0
END_LIMIT_S = 30.0
SCRIPT_LIMIT_S = 120.0
MAX_PAGES = 1024
USUAL_MLOCK_KIB = 516  # what kernels allow by default
CAP_IPC_LOCK = 14

SYSCALLS = {  # what we report -> the tracepoints that are summed for it
    "recv": ["recvfrom", "recvmsg"],
    "send": ["sendto", "sendmsg", "writev"],
    "epoll_wait": ["epoll_wait", "epoll_pwait"],
    "epoll_ctl": ["epoll_ctl"],
    "io_uring_enter": ["io_uring_enter"],
    "timerfd_settime": ["timerfd_settime"],
    "read": ["read"],
    "write": ["write"],
    "accept": ["accept", "accept4"],
    "close": ["close"],
    "futex": ["futex"],
}
TRIAL = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=200000", "status=none"]  # some 0.2 s
TRIAL_LIMIT_S = 20.0
USER_MODE_ONLY = "perf records user mode only"
TOTAL = "raw_syscalls:sys_enter"
# perf speaks English, reads no settings of the user's, and asks no server for symbols.
PERF_ENV = {**os.environ, "LC_ALL": "C", "PERF_CONFIG": os.devnull, "DEBUGINFOD_URLS": ""}


class Recorder:
    """Runs perf with its events off; switched_on() has them on inside its block only."""

    def __init__(self, argv: list[str], cpus: set[int]) -> None:
        self._folder = scratch.folder("idlewheel-perf-")
        control, answer = (Path(self._folder.name) / name for name in ("control", "answer"))
        os.mkfifo(control)
        os.mkfifo(answer)
        self._control = os.open(control, os.O_RDWR)
        self._answer = os.open(answer, os.O_RDWR)
        self.data = Path(self._folder.name) / "perf.data"
        filled = [a.replace("CONTROL", f"fifo:{control},{answer}").replace("DATA", str(self.data))
                  for a in argv]
        self.perf = Child(filled, cpus, env=PERF_ENV)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.perf.end()
        os.close(self._control)
        os.close(self._answer)
        self._folder.cleanup()

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Wait for perf's answer at both ends. When the block fails, perf is ended anyway."""
        self._tell("enable")
        yield
        self._tell("disable")

    def end(self) -> str:
        """Let perf write what it has; its stderr."""
        self.perf.signal(signal.SIGINT)
        code = self.perf.wait(END_LIMIT_S)
        if code is None:
            raise Failed(f"perf did not end within {END_LIMIT_S:.0f} s")
        if code not in (0, -signal.SIGINT, 128 + signal.SIGINT):  # the last is what a shell says
            raise Failed(self.perf.ending())
        return self.perf.errors()

    def script(self) -> str:
        """What was recorded, as perf's own text."""
        return script(self.data)

    def _tell(self, word: str) -> None:
        os.write(self._control, f"{word}\n".encode())
        limit = time.monotonic() + ACK_LIMIT_S
        while not select.select([self._answer], [], [], 0.1)[0]:
            if not self.perf.running:
                raise Failed(f"before it could {word} its events, {self.perf.ending()}")
            if time.monotonic() > limit:
                raise Failed(f"perf did not {word} its events: {self.perf.last_words()}")
        os.read(self._answer, 64)


def in_first_user_namespace() -> bool:
    """perf ignores rights in any other one, such as that of a rootless container."""
    found = text_of("/proc/self/uid_map").split()  # empty: a kernel without user namespaces
    return found in ([], ["0", "0", str(2**32 - 1)])


def is_root() -> bool:
    return os.geteuid() == 0 and in_first_user_namespace()


def capabilities(which: str = "CapEff") -> int:
    """A set of capabilities of this process as the kernel counts them: a bit each."""
    found = re.search(rf"^{which}:\s*([0-9a-f]+)$", text_of("/proc/self/status"), re.MULTILINE)
    return int(found[1], 16) if found and in_first_user_namespace() else 0


def mmap_pages() -> int:
    """The limit on locked memory binds all who lack CAP_IPC_LOCK, such as root in a container."""
    return pages_allowed(bool(capabilities() >> CAP_IPC_LOCK & 1),
                         number_of("/proc/sys/kernel/perf_event_mlock_kb"))


def pages_allowed(unbound: bool, limit_kib: int | None) -> int:
    """The largest buffer that is allowed, to one who is not bound by the limit and to others."""
    if unbound:
        return MAX_PAGES
    if limit_kib is None:
        limit_kib = USUAL_MLOCK_KIB
    usable = max(1, limit_kib * 1024 // os.sysconf("SC_PAGE_SIZE") - 1)
    return min(MAX_PAGES, 1 << (usable.bit_length() - 1))


def record_argv(pid: int | str, walk: str = "frame pointers", pages: int | None = None) -> list[str]:
    graph, frequency = WALKS[walk]
    # Without --no-buildid-cache, perf would leave a copy of every server in ~/.debug.
    return ["perf", "record", "-e", EVENT, "-F", str(frequency), "--call-graph", graph,
            "--no-buildid-cache", "-m", str(pages or mmap_pages()), "-D", "-1", "--control", "CONTROL",
            "-p", str(pid), "-o", "DATA"]


class Trial(NamedTuple):
    """What a short recording showed."""

    refused: str = ""  # why perf cannot record; empty when it can
    kernel_named: bool = True  # whether functions of the kernel have names


def trial() -> Trial:
    """Record a program that mostly runs in the kernel."""
    walk, frequency = WALKS["frame pointers"]
    with scratch.folder("idlewheel-doctor-") as folder:
        data = Path(folder) / "perf.data"
        code, _, error = run(["perf", "record", "-e", EVENT, "-F", str(frequency), "--call-graph",
                              walk, "--no-buildid-cache", "-m", str(mmap_pages()), "-o", str(data),
                              "--", *TRIAL], TRIAL_LIMIT_S, PERF_ENV)
        if code:
            return Trial(refusal(error) or "perf record failed")
        try:
            recording = fold.parse(script(data))
        except Failed as failed:
            return Trial(str(failed))
    if not recording.stacks:
        return Trial("perf recorded no stacks")
    if not recording.share(fold.in_kernel):
        return Trial(USER_MODE_ONLY)
    return Trial(kernel_named=recording.share(fold.named_in_kernel) > 0)


def trial_of_tracepoints() -> str:
    """Why perf cannot count system calls; an empty text when it can."""
    code, _, error = run(["perf", "stat", "-x", ",", "-e", TOTAL, "true"], TRIAL_LIMIT_S, PERF_ENV)
    if code:
        return refusal(error) or "perf stat failed"
    return "" if parse_stat(error).get(TOTAL) else "perf counted none"


def refusal(error: str) -> str:
    """The line in which perf says what is wrong: the first one after "Error:", if it says that."""
    lines = [line.strip() for line in error.splitlines()]
    at = next((i for i, line in enumerate(lines) if line.startswith("Error:")), -1)
    said = [lines[at].removeprefix("Error:").strip(), *lines[at + 1:]] if at >= 0 else lines
    return next((line.removesuffix(".") for line in said if line), "")


def script_argv(data: Path | str) -> list[str]:
    return ["perf", "script", "-i", str(data), "--show-lost-events", "--no-inline",
            "-F", "comm,tid,ip,sym,dso"]


def script(data: Path) -> str:
    """perf's own text of every stack: command, then one frame a line, innermost first."""
    return script_in(*run(script_argv(data), SCRIPT_LIMIT_S, PERF_ENV))


def script_in(code: int, text: str, error: str) -> str:
    """What perf script printed; Failed where it could not."""
    if code:
        raise Failed(f"perf script failed: {(error.strip().splitlines() or ['no reason'])[-1]}")
    return text


def syscall_events(tracing: Path = Path(TRACING)) -> list[str]:
    """The tracepoints of SYSCALLS that this kernel has."""
    folder = tracing / "events/syscalls"
    return events_of(n for n in all_calls() if os.path.exists(folder / f"sys_enter_{n}"))


def all_calls() -> list[str]:
    return [name for group in SYSCALLS.values() for name in group]


def events_of(calls: Iterable[str]) -> list[str]:
    return [TOTAL, *(f"syscalls:sys_enter_{name}" for name in calls)]


def stat_argv(pid: int, events: list[str] | None = None) -> list[str]:
    return ["perf", "stat", "-x", ",", "-e", ",".join(events or syscall_events()), "-D", "-1",
            "--control", "CONTROL", "-p", str(pid)]


def parse_stat(text: str) -> dict[str, int]:
    """perf stat's CSV: event name -> count; events that could not be counted are left out."""
    rows = [line.split(",") for line in text.splitlines() if line.count(",") >= 4]
    return {row[2]: int(row[0]) for row in rows if row[0].isdigit()}


def syscalls_per(counts: dict[str, int], events: int) -> dict[str, float]:
    """Counts per request; a call that this kernel cannot count is absent, not zero."""
    if TOTAL not in counts:
        raise Failed("perf counted no system calls")
    found = {"total": counts[TOTAL] / events}
    for name, calls in SYSCALLS.items():
        present = [f"syscalls:sys_enter_{c}" for c in calls if f"syscalls:sys_enter_{c}" in counts]
        if present:
            found[name] = sum(counts[p] for p in present) / events
    return found
