"""Child processes that never outlive the study, and what the kernel counts about them."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from results.errors import Failed

STOP_LIMIT_S = 3.0
NOT_STARTED = 127  # run()'s exit code of a program that is not there or may not run
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """A child in its own process group, pinned to cpus, that dies with this process.

    Its output goes to files in memory, so that it never blocks on a pipe nobody reads, nor fails on
    a full disk; output() and errors() give what it has written. Leaving the with-block ends the
    whole group.
    visible: its output goes to our stderr instead. asks: it may need the terminal (a password),
    so it stays in our group. stdin: as of subprocess.Popen; nothing by default.
    """

    def __init__(self, argv: list[str], cpus: set[int] | None = None, env: dict | None = None,
                 cwd: Path | None = None, visible: bool = False, asks: bool = False,
                 stdin: int = subprocess.DEVNULL) -> None:
        self.name = Path(argv[0]).name
        self._own_group = not asks
        self._out, self._err = (os.fdopen(os.memfd_create(name), "w+b") for name in ("out", "err"))
        parent = os.getpid()

        def prepare() -> None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent ended before prctl took hold
                os._exit(1)
            if cpus:
                os.sched_setaffinity(0, cpus)

        try:
            self.popen = subprocess.Popen(
                argv, stdin=None if asks else stdin, cwd=cwd, env=env,
                stdout=2 if visible else self._out, stderr=2 if visible else self._err,
                process_group=None if asks else 0, preexec_fn=prepare)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.popen.pid, number)

    def wait(self, limit_s: float) -> int | None:
        """The exit code, or None when it still runs after limit_s."""
        try:
            return self.popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End the group whatever state it is in: asked first, then forced."""
        if self.running:
            self._signal_all(signal.SIGTERM)
            if self.wait(STOP_LIMIT_S) is None:
                self._signal_all(signal.SIGKILL)
                self.popen.wait()
        if self._own_group:
            self._signal_all(signal.SIGKILL)  # what it may have left behind
        self._close()

    def output(self) -> str:
        return self._text(self._out)

    def errors(self) -> str:
        return self._text(self._err)

    def ending(self) -> str:
        """How it ended, and what it said last."""
        code = self.popen.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{self.name} {how}: {self.last_words()}"

    def failure(self, when: str) -> Failed:
        """Why a measurement has failed in which it ended."""
        return Failed(f"{when} {self.ending()}")

    def last_words(self) -> str:
        lines = [line for line in (self.output() + self.errors()).splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"

    def _close(self) -> None:
        self._out.close()
        self._err.close()

    def _signal_all(self, number: int) -> None:
        try:
            pid = self.popen.pid
            os.killpg(pid, number) if self._own_group else os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    @staticmethod
    def _text(stream: BinaryIO) -> str:
        size = os.fstat(stream.fileno()).st_size
        return os.pread(stream.fileno(), size, 0).decode(errors="replace")


def run(argv: list[str], limit_s: float, env: dict | None = None) -> tuple[int, str, str]:
    """Run to the end: exit code, stdout, stderr. NOT_STARTED and the reason if it cannot start."""
    try:
        with Child(argv, env=env) as child:
            code = child.wait(limit_s)
            if code is None:
                return 124, child.output(), f"{child.name} did not end within {limit_s:.0f} s"
            return code, child.output(), child.errors()
    except OSError as error:
        return NOT_STARTED, "", error.strerror or str(error)


def text_of(path: Path | str) -> str:
    """What a file of the kernel says; empty where there is nothing to read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def number_of(path: Path | str) -> int | None:
    """The number in a file of the kernel; None where there is none."""
    try:
        return int(text_of(path))
    except ValueError:
        return None


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all its threads, from its own clock in the kernel."""
    return time.clock_gettime((~pid << 3) | 2)  # 2: the scheduler's clock, to the nanosecond


def user_share(pid: int) -> tuple[int, int]:
    """User and system ticks: too coarse for a figure, good for the split of one."""
    return ticks_of(Path(f"/proc/{pid}/stat").read_text())


def ticks_of(stat: str) -> tuple[int, int]:
    """User and system ticks in the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def rss_kib(pid: int) -> int:
    return rss_of(Path(f"/proc/{pid}/status").read_text())


def rss_of(status: str) -> int:
    """KiB of resident memory in the text of /proc/PID/status."""
    found = re.search(r"^VmRSS:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class HostTimes:
    """Counters of the machine and of its cores, in seconds since boot. None: it has no such counter.

    A container may see too few cores, or cores that are numbered anew. Those of core_busy_s and
    core_steal_s are the kernel's own: both are empty where the cores that this process may use are
    not among them.
    """

    at_s: float
    busy_s: float | None
    steal_s: float | None
    core_busy_s: dict[int, float]
    psi_some_s: float | None
    cores: int = 0  # how many cores busy_s and steal_s sum up
    core_steal_s: dict[int, float] = field(default_factory=dict)

    @staticmethod
    def read(proc: Path = Path("/proc")) -> HostTimes:
        return HostTimes.of(text_of(proc / "stat"), text_of(proc / "pressure/cpu"),
                            os.sched_getaffinity(0))

    @staticmethod
    def of(stat: str, pressure: str, usable: set[int]) -> HostTimes:
        """What these two files say, of a machine whose usable cores these are."""
        lines = _cpu_lines(stat)
        total = lines.pop("cpu", [])
        cores = {int(name[3:]): ticks for name, ticks in lines.items() if _busy_s(ticks) is not None}
        own = cores if usable <= cores.keys() else {}
        return HostTimes(
            time.monotonic(), _busy_s(total), _steal_s(total),
            {number: _busy_s(ticks) for number, ticks in own.items()}, _psi_some_s(pressure), len(lines),
            {number: steal for number, ticks in own.items()
             if (steal := _steal_s(ticks)) is not None})


def _cpu_lines(stat: str) -> dict[str, list[float]]:
    """The lines of all cores ("cpu") and of each ("cpu0"), in seconds."""
    per_second = os.sysconf("SC_CLK_TCK")
    lines = re.findall(r"^(cpu\d*)((?: +\d+)*)$", stat, re.MULTILINE)
    return {name: [int(field) / per_second for field in fields.split()] for name, fields in lines}


def _busy_s(ticks: list[float]) -> float | None:
    """User, nice and system time, and that of interrupts; neither idle time nor steal."""
    return sum(ticks[:3] + ticks[5:7]) if len(ticks) > 3 else None


def _steal_s(ticks: list[float]) -> float | None:
    return ticks[7] if len(ticks) > 7 else None


def _psi_some_s(pressure: str) -> float | None:
    """None for a kernel without pressure accounting."""
    found = re.search(r"^some .*total=(\d+)", pressure, re.MULTILINE)
    return int(found[1]) / 1e6 if found else None


def tcp_in_use(proc: Path = Path("/proc")) -> int:
    """TCP sockets that are not closed and not in TIME_WAIT; 0 where the machine does not say."""
    return sockets_of(text_of(proc / "net/sockstat"))


def sockets_of(sockstat: str) -> int:
    found = re.search(r"^TCP: inuse (\d+)", sockstat, re.MULTILINE)
    return int(found[1]) if found else 0
