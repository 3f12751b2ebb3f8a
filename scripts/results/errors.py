"""The errors that end a command, and its exit codes."""

from __future__ import annotations

DONE = 0
BAD_USAGE = 2
CANNOT = 3  # the environment cannot do what was asked
INVALID = 4  # something was measured, but the figures must not be used
INTERRUPTED = 130

EXIT_CODES = ("Exit codes: 0 done, 2 bad usage, 3 this machine cannot do it (study doctor says "
              "why), 4 measured but invalid, 130 interrupted (the same command continues).")


class Stop(Exception):
    """Ends the program with one line on stderr and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Failed(Exception):
    """A measurement failed; its sample keeps the reason, and the study goes on."""


class HostLost(Failed):
    """Another host does not answer any more, or never did."""


def bad_usage(message: str) -> Stop:
    return Stop(message, BAD_USAGE)


def cannot(message: str) -> Stop:
    return Stop(message, CANNOT)


def invalid(message: str) -> Stop:
    return Stop(message, INVALID)


class Unreadable(Stop):
    """A folder does not hold results that this version can read; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, BAD_USAGE)
