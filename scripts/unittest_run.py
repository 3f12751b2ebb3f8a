"""Runs Python tests for CTest. The arguments are those of `python3 -m unittest`.

Exit codes: 0 when all tests passed, 1 when one failed or none ran, 77 when none failed and some were
skipped. A test is skipped where the machine lacks a program that it needs. CTest knows 77 as the
code of a skipped test (python_tests.cmake). The reasons are printed, and appended to the file that
IDLEWHEEL_SKIPPED names.

With IDLEWHEEL_SKIP_NOTHING set, a skipped test is a failure. scripts/test sets it. But a machine may
forbid io_uring or network namespaces, and a release may have no package of h2o. No program that could
be installed changes that.
"""

import collections
import os
import sys
import unittest

FAILED = 1
SKIPPED = 77
FORBIDDEN = tuple(f"{what} is not available" for what in ("io_uring", "a network namespace", "h2o"))


def reasons(result: unittest.TestResult) -> list[str]:
    """A line for each reason, with the first of the tests that were skipped for it."""
    tests = collections.defaultdict(list)
    for test, reason in result.skipped:
        tests[reason].append(test.id())
    return [f"skipped: {first}{f' and {len(rest)} more' if rest else ''}: {reason}"
            for reason, (first, *rest) in tests.items()]


def tell(lines: list[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    print(text, end="", flush=True)
    if file := os.environ.get("IDLEWHEEL_SKIPPED"):
        with open(file, "a") as skipped:
            skipped.write(text)


def main() -> int:
    sys.path[0] = os.getcwd()  # the folder of the tests, in place of this file's
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        result = unittest.main(module=None, exit=False).result
    except SystemExit:  # a wrong argument, or a test file that ended the process with any code
        return FAILED
    tell(reasons(result))
    if not result.wasSuccessful() or not (result.testsRun or result.skipped):
        return FAILED
    if not result.skipped:
        return 0
    missing = [test for test, reason in result.skipped if not reason.startswith(FORBIDDEN)]
    return FAILED if missing and os.environ.get("IDLEWHEEL_SKIP_NOTHING") else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
