"""What scripts/study runs: start(). Signals are blocked until the commands can answer them."""

from __future__ import annotations

import signal
import sys


def start() -> None:
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    from results.errors import CANNOT
    from study_cli.commands import main
    from study_cli.console import open_streams
    output, errors = open_streams()
    try:
        code = main()
    except SystemExit as leaving:  # --help
        code = leaving.code
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # nothing is left that could be interrupted
    output.flush()
    if output.failure:
        print(f"study: standard output: {output.failure}", file=errors)
        code = code or CANNOT
    sys.exit(code)


if __name__ == "__main__":
    start()
