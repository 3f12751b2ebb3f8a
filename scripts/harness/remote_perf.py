"""perf on the host of the server: told what to do through the same pipes, in the host's folder."""

from __future__ import annotations

import shlex

from harness import fold, perf
from harness.ssh import Connection, Session
from results.errors import Failed, HostLost

_ENV = ["env", "LC_ALL=C", "PERF_CONFIG=/dev/null", "DEBUGINFOD_URLS="]
_TEXT = "LC_ALL=C PERF_CONFIG=/dev/null DEBUGINFOD_URLS= "


class RemoteRecorder(perf.Recorder):
    def __init__(self, connection: Connection, argv: list[str], cpu: int) -> None:
        self._connection = connection
        self.data = f"{connection.folder}/perf.data"
        code, _, error = connection.run(f"cd {shlex.quote(connection.folder)} && rm -f control answer "
                                        "perf.data && mkfifo -m 600 control answer")
        if code:
            raise Failed(f"no pipes for perf on {connection.name}: {error.strip()}")
        words = {"CONTROL": "fifo:control,answer", "DATA": "perf.data"}
        self.perf = Session(connection, [*_ENV, *(words.get(word, word) for word in argv)], cpu)
        self.perf.name = "perf"
        self.perf.go()

    def __exit__(self, *_: object) -> None:
        self.perf.end()

    def script(self) -> str:
        return perf.script_in(*self._connection.run(_TEXT + shlex.join(perf.script_argv(self.data)),
                                                    limit_s=perf.SCRIPT_LIMIT_S))

    def _tell(self, word: str) -> None:
        """Opened for both directions, so that nothing waits for a perf that has ended."""
        code, said, _ = self._connection.run(
            f"cd {shlex.quote(self._connection.folder)} && exec 5<>control 6<>answer && "
            f"echo {word} >&5 && read -r -t {perf.ACK_LIMIT_S:.0f} said <&6")
        if code:
            state = self.perf.last_words() if self.perf.running else self.perf.ending()
            raise Failed(f"perf did not {word} its events: {state}")


def trial(connection: Connection, cpu: int) -> str:
    """Why perf cannot record on this host; empty when it can."""
    walk, frequency = perf.WALKS["frame pointers"]
    data = f"{connection.folder}/trial.data"
    record = ["perf", "record", "-e", perf.EVENT, "-F", str(frequency), "--call-graph", walk,
              "--no-buildid-cache", "-o", data, "--", *perf.TRIAL]
    try:
        code, _, error = connection.run(f"{_TEXT}taskset -c {cpu} {shlex.join(record)}",
                                        limit_s=perf.TRIAL_LIMIT_S)
        if code:
            return perf.refusal(error) or "perf record failed"
        text = perf.script_in(*connection.run(_TEXT + shlex.join(perf.script_argv(data))))
        recording = fold.parse(text)
    except HostLost:
        raise
    except Failed as failed:
        return str(failed)
    if not recording.stacks:
        return "perf recorded no stacks"
    return "" if recording.share(fold.in_kernel) else perf.USER_MODE_ONLY


def trial_of_tracepoints(connection: Connection) -> str:
    code, _, error = connection.run(f"{_TEXT}perf stat -x , -e {perf.TOTAL} true")
    if code:
        return perf.refusal(error) or "perf stat failed"
    return "" if perf.parse_stat(error).get(perf.TOTAL) else "perf counted none"
