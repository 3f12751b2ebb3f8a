"""The harness of scripts/study: plans cells, drives the server and its load, reads the figures.

Data flows one way: plan -> cell (process, load, perf) -> journal -> fold -> scripts/report.
"""


class Stop(Exception):
    """Ends the program with one line on stderr and an exit code of the table in cli.py."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def bad_usage(message: str) -> Stop:
    return Stop(message, 2)


def cannot(message: str) -> Stop:
    """The environment cannot do what was asked."""
    return Stop(message, 3)


def invalid(message: str) -> Stop:
    """Something was measured, but the figures must not be used."""
    return Stop(message, 4)
