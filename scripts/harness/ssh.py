"""Other machines, reached by OpenSSH: one connection to each, and programs that end with it.

All that runs on a host goes over one connection (ssh's ControlMaster), so a command costs a round
trip and no new log-in. Every command is `bash -s` with its script on standard input: it does not
matter which shell the user has there, and nothing but bash has to be installed. Files travel in the
same way, because scp would need the host's sftp server. Hosts are asked at the same time with one ssh
process for each. GNU parallel does not fit: these processes live on, get signals and lines to read,
and each of them stands for a host by name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from harness import scratch
from harness.addresses import Address
from harness.process import Child
from results.errors import Failed, HostLost

PRELUDE = Path(__file__).with_name("host.sh").read_text(encoding="utf-8")
CONNECT_S = 10
ALIVE_S, ALIVE_COUNT = 5, 3  # ssh gives up on a host that is silent for the product
BEAT_S = 3.0  # how often a host hears from us
SILENCE_S = 12  # after which it ends everything
COMMAND_LIMIT_S = 30.0
CLOSE_LIMIT_S = 8.0  # what host.sh needs to end a program, and more
BEGINS = "idlewheel: begins\n"  # what host.sh prints first
SSH_FAILED = 255  # ssh's own exit code; a program's is passed on
CONTROL_LENGTH = 60  # of a folder whose name leaves room for that of a socket


def options(extra: Iterable[str]) -> list[str]:
    """ssh takes the first value of an option: what we cannot do without, the user's, the rest."""
    given = ["BatchMode=yes", "ControlPersist=no", "ClearAllForwardings=yes", "RemoteCommand=none",
             *extra, f"ConnectTimeout={CONNECT_S}", f"ServerAliveInterval={ALIVE_S}",
             f"ServerAliveCountMax={ALIVE_COUNT}", "ForwardAgent=no", "ForwardX11=no",
             "PermitLocalCommand=no", "LogLevel=ERROR"]
    return [word for each in given for word in ("-o", each)]


def control_folder():
    """A private folder whose name is short enough for the name of a socket."""
    for parent in scratch.candidates():
        if len(os.fspath(parent)) <= CONTROL_LENGTH:
            with contextlib.suppress(OSError):
                return scratch.made("idlewheel-ssh-", parent)
    raise OSError(None, "no folder for ssh's sockets; set TMPDIR to one with a short name")


class Remote(Child):
    """An ssh process, and the script that bash runs at its other end."""

    def __init__(self, connection: Connection, stdin: int, *flags: str) -> None:
        self.host, self._connection = connection.name, connection
        super().__init__(connection.argv(*flags), stdin=stdin)

    def output(self) -> str:
        return super().output().partition(BEGINS)[2]

    def errors(self) -> str:
        """Those of ssh, where it has not come so far as to run anything."""
        before, begun, after = super().errors().partition(BEGINS)
        return after if begun else before

    def lost(self) -> HostLost:
        said = self.errors() if self.popen.returncode == SSH_FAILED else ""
        return HostLost(f"host {self.host} was lost: {reason(said)}")

    def failure(self, when: str) -> Failed:
        return self.lost() if self.refused else super().failure(when)

    @property
    def refused(self) -> bool:
        """Whether it is ssh itself that has failed, or the host has ended all for want of it."""
        broken = self.popen.returncode in (SSH_FAILED, -signal.SIGKILL)
        return broken or not self._connection.alive


class Command(Remote):
    """A script that is run to its end. data: what its functions read."""

    def __init__(self, connection: Connection, script: str, data: bytes = b"") -> None:
        text = os.memfd_create("script")
        try:
            with os.fdopen(os.dup(text), "wb") as out:
                out.write(f"{PRELUDE}{script}\n".encode())
                out.write(data)
            os.lseek(text, 0, os.SEEK_SET)
            super().__init__(connection, text)
        finally:
            os.close(text)

    def result(self, limit_s: float = COMMAND_LIMIT_S) -> tuple[int, str, str]:
        """Exit code, stdout and stderr; HostLost when the host does not answer."""
        with self:
            code = self.wait(limit_s)
            if code is None:
                raise HostLost(f"host {self.host} was lost: it has not answered for {limit_s:.0f} s")
            if self.refused:
                raise self.lost()
            return code, self.output(), self.errors()


class Open(Remote):
    """A script that reads what we say, and ends by itself when we close its standard input."""

    def __init__(self, connection: Connection, script: str, *flags: str) -> None:
        super().__init__(connection, subprocess.PIPE, *flags)
        self.say(f"{PRELUDE}{script}\n")

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # whoever waits for it finds it gone
            self.popen.stdin.write(text.encode())
            self.popen.stdin.flush()

    def close_input(self) -> None:
        with contextlib.suppress(OSError):
            self.popen.stdin.close()

    def end(self) -> None:
        self.close_input()
        self.wait(CLOSE_LIMIT_S)
        super().end()


def end_all(several: Iterable[Open]) -> None:
    """At the same time, so that it takes no longer than the slowest."""
    several = list(several)
    for each in several:
        each.close_input()
    for each in several:
        each.end()


class Session(Open):
    """A program on another host, on one of its cores if that is named. go() starts it."""

    def __init__(self, connection: Connection, argv: list[str], cpu: int | None = None) -> None:
        pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
        super().__init__(connection, f"run {shlex.join([connection.folder, *pinned, *argv])}")
        self.name = Path(argv[0]).name

    def go(self) -> None:
        self.say("go\n")

    @property
    def pid(self) -> int:
        """Its number on that host; 0 while it is not known."""
        found = re.search(r"^pid (\d+)$", super().errors(), re.MULTILINE)
        return int(found[1]) if found else 0

    def errors(self) -> str:
        return re.sub(r"^pid \d+\n", "", super().errors(), count=1, flags=re.MULTILINE)

    def signal(self, number: int) -> None:
        self.say(f"{signal.Signals(number).name.removeprefix('SIG')}\n")

    def ending(self) -> str:
        if self.refused:
            return str(self.lost())
        code = self.popen.returncode
        how = f"was killed by signal {code - 128}" if code > 128 else f"ended with {code}"
        return f"{self.name} on {self.host} {how}: {self.last_words()}"


class _Keeper(Open):
    """Holds the connection that all other processes share, and the folder on the host."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, f"keep {SILENCE_S}", "-M")
        self._over = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def folder(self) -> str:
        limit = time.monotonic() + CONNECT_S + ALIVE_S * ALIVE_COUNT
        while "\n" not in self.output():
            if not self.running:
                raise HostLost(reason(self.errors()))
            if time.monotonic() > limit:
                raise HostLost("ssh did not log in in time")
            time.sleep(0.01)
        return self.output().split("\n")[0]

    def close_input(self) -> None:
        self._over.set()
        super().close_input()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            self.say("\n")


class Connection:
    """One host. Opened with begin() and opened(), so that many can be opened at once."""

    def __init__(self, address: Address, control: Path, extra: Iterable[str] = ()) -> None:
        self.address, self.name = address, str(address)
        self._control, self._options = control, options(extra)
        self._keeper: _Keeper | None = None
        self.folder = ""

    def argv(self, *flags: str) -> list[str]:
        shared = flags or ("-o", "ControlMaster=no")
        return ["ssh", "-T", *shared, "-S", str(self._control), *self._options,
                *self.address.flags(), "bash -s"]

    @property
    def alive(self) -> bool:
        return self._keeper is not None and self._keeper.running

    def begin(self) -> None:
        self.close()
        self._keeper = _Keeper(self)

    def opened(self) -> None:
        """HostLost, with the reason, when the host cannot be used."""
        try:
            self.folder = self._keeper.folder()
        except BaseException:
            self.close()
            raise

    def close_input(self) -> None:
        if self._keeper:
            self._keeper.close_input()

    def close(self) -> None:
        """Ends what runs there and removes the folder."""
        if self._keeper:
            self._keeper.end()
            self._keeper = None

    def start(self, script: str, data: bytes = b"") -> Command:
        return Command(self, script, data)

    def run(self, script: str, data: bytes = b"", limit_s: float = COMMAND_LIMIT_S
            ) -> tuple[int, str, str]:
        return self.start(script, data).result(limit_s)

    def put(self, name: str, data: bytes) -> Command:
        """A file in the host's folder, under way."""
        return self.start(f"put {shlex.quote(f'{self.folder}/{name}')} {len(data)}", data)


def close_all(connections: list[Connection]) -> None:
    """At the same time."""
    for each in connections:
        each.close_input()
    for each in connections:
        each.close()


def reason(said: str) -> str:
    """Why ssh has failed, and what to do about it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = lines[-1] if lines else "the connection broke"
    for words, fix in (
            ("Host key verification failed", "its key is not known, or has changed; fix: ssh to it "
             "once by hand"),
            ("Permission denied", "fix: a key that needs no password (ssh-copy-id, ssh-agent)"),
            ("bash: not found", "fix: install bash there"),
            ("Could not resolve", "fix: the name, or an entry in ~/.ssh/config")):
        if words.lower() in said.lower():
            return f"{text.removesuffix('.')}; {fix}"
    return text


def sections(said: str) -> dict[str, str]:
    """What show() and say() of host.sh printed, by name."""
    parts = re.split(r"^@@ (.+)\n", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.removesuffix("\n") for text in parts[2::2])))
