"""Where a study measures. Here: on this machine. machines.There has the same methods for several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import cpus, environment, measured_server, perf
from harness.measured_server import Binary, MeasuredServer
from harness.process import tcp_in_use
from harness.window import Target
from harness.wrk import Shape, Wrk
from results.cell import Cell


class Here:
    """The server on one core of this machine, and wrk on another, which perf shares unless told."""

    address = ""  # that the server is told to listen on; it has a default
    script: str | None = None  # of wrk's

    def __init__(self, server_cpu: int, client_cpu: int,
                 facts: environment.Facts | None = None, perf_cpu: int | None = None) -> None:
        self.server_cpu, self.client_cpu, self._facts = server_cpu, client_cpu, facts
        self.perf_cpu = client_cpu if perf_cpu is None else perf_cpu

    @property
    def uncounted_calls(self) -> str:
        """Why no system calls can be counted; empty where they can."""
        return self._facts.tracepoints

    @property
    def unprofiled(self) -> str:
        """Why there are no profiles. Without perf a study here has ended before."""
        return ""

    def fingerprint(self, binary: Path) -> dict:
        return environment.fingerprint(self._facts, binary)

    def require_transport(self, binary: Binary, io: str, original: Path) -> None:
        measured_server.require_transport(binary, io, self.server_cpu, original)

    @contextmanager
    def beside_the_load(self) -> Iterator[None]:
        """Keep this process off the server's core."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.client_cpu})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def server(self, binary: Binary, cell: Cell) -> MeasuredServer:
        return MeasuredServer(binary.path, cell, {self.server_cpu})

    def target(self, server: MeasuredServer) -> Target:
        watched = cpus.siblings(self.server_cpu) | cpus.siblings(self.client_cpu)
        return Target(server.url, server.admin_url, server.pid, self.server_cpu, server,
                      frozenset(watched))

    def load(self, shape: Shape, url: str) -> Wrk:
        return Wrk(shape, url, {self.client_cpu})

    def profiler(self, pid: int, walk: str) -> perf.Recorder:
        return perf.Recorder(perf.record_argv(pid, walk), {self.perf_cpu})

    def call_counter(self, pid: int) -> perf.Recorder:
        return perf.Recorder(perf.stat_argv(pid), {self.perf_cpu})

    def sockets(self) -> int:
        """TCP sockets in use where the server runs."""
        return tcp_in_use()
