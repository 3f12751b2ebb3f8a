"""What is measured: a cell, and one measurement of it.

A cell is one timer backend, re-armed in one way, on one transport, under one workload at one number
of connections. A measurement is one kind of look at a cell in one round: its cost under load, its system calls, a
profile, or a profile with DWARF stack walks.
"""

from __future__ import annotations

from dataclasses import dataclass

SCENARIOS = ["respond", "increasing-timeout", "mixed"]
IO_URING = "io_uring"
IOS = ["epoll", IO_URING]  # the server's transports; the first is its default
KINDS = ["load", "syscalls", "profile", "dwarf"]
AA = "A/A"  # the alias of the variant that runs twice a round
CONTROL = "none"  # the backend without timeouts


@dataclass(frozen=True)
class Cell:
    scenario: str
    timeouts: str  # "default" or "short"
    backend: str
    rearm: str  # "lazy" or "eager"
    connections: int
    alias: str | None = None  # AA for the repeated variant, else None
    io: str = IOS[0]

    @property
    def workload(self) -> str:
        """Scenario and timeouts, as --scenario takes them."""
        return self.scenario + ("+short" if self.timeouts == "short" else "")

    @property
    def conditions(self) -> tuple[str, str, int]:
        """Cells under the same conditions get the same load: they may be compared."""
        return (self.scenario, self.timeouts, self.connections)

    @property
    def rivals(self) -> tuple[str, str, int, str]:
        """Cells that are rivals differ in their timers only: they share a baseline."""
        return (*self.conditions, self.io)

    @property
    def _transport(self) -> str:
        """Part of names, where it is not the default one. Older folders know no other."""
        return "" if self.io == IOS[0] else self.io

    @property
    def variant(self) -> str:
        """Backend, re-arm mode and transport; the control has no timers, hence no mode."""
        parts = [self.backend, "" if self.backend == CONTROL else self.rearm, self._transport]
        name = " ".join(part for part in parts if part)
        return f"{name} ({self.alias})" if self.alias else name

    @property
    def label(self) -> str:
        """For people."""
        short = " short timeouts" if self.timeouts == "short" else ""
        return f"{self.scenario}{short} · {self.connections} · {self.variant}"

    @property
    def key(self) -> str:
        """For file names and for the data of the report's page."""
        tail = (f"-{self._transport}" if self._transport else "") + ("-aa" if self.alias else "")
        return f"{self.workload}-{self.backend}-{self.rearm}-{self.connections}{tail}"

    @property
    def closes(self) -> bool:
        """Whether the server closes connections by design, and the client opens new ones."""
        return self.scenario != "respond"

    @property
    def counts_timeouts(self) -> bool:
        """Whether cost is per timed-out request: in S2 nothing is answered."""
        return self.scenario == "increasing-timeout"

    def sort_key(self) -> tuple:
        """The order in which a report lists cells."""
        place = SCENARIOS.index(self.scenario) if self.scenario in SCENARIOS else len(SCENARIOS)
        return (place, self.timeouts, self.connections, self.io, self.backend == CONTROL,
                self.rearm, self.backend, self.alias or "")


@dataclass(frozen=True)
class Measurement:
    kind: str  # of KINDS
    round: int
    cell: Cell

    @property
    def id(self) -> str:
        """Unique within a study; manifest.json lists those that are planned."""
        cell = self.cell
        suffix = ("" if cell.io == IOS[0] else f"~{cell.io}") + ("~aa" if cell.alias else "")
        return (f"r{self.round:02}/{cell.scenario}/{cell.timeouts}/{cell.backend}/{cell.rearm}/"
                f"{cell.connections}/{self.kind}{suffix}")
