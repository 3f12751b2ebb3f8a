"""How hosts are named: on the command line, and in the file of --clients, a host a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from results.errors import bad_usage

_PORT_LIMIT = 65535
_NAME = re.compile(r"[A-Za-z0-9_:%][A-Za-z0-9_.:%-]*")  # of a host, or an address; of no option
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]*")


@dataclass(frozen=True)
class Address:
    """USER@HOST:PORT. What is not named is left to ssh and its settings."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return f"{self.user}@" * bool(self.user) + host + f":{self.port}" * bool(self.port)

    def flags(self) -> list[str]:
        """For ssh, the host last."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return [*user, *port, "--", self.host]


def parse(text: str) -> Address:
    """ValueError, with the reason, where it names no host."""
    user, at, rest = text.removeprefix("ssh://").rpartition("@")
    if rest.startswith("["):
        host, closed, tail = rest[1:].partition("]")
        if not closed or tail and not tail.startswith(":"):
            raise ValueError("an IPv6 address with a port is written [ADDRESS]:PORT")
        port = tail[1:] if tail else None
    elif rest.count(":") > 1:
        host, port = rest, None  # an IPv6 address
    else:
        host, colon, found = rest.partition(":")
        port = found if colon else None
    if not _NAME.fullmatch(host) or at and not _USER.fullmatch(user):
        raise ValueError("it is not of the form HOST, USER@HOST or USER@HOST:PORT")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_LIMIT):
        raise ValueError(f"{port!r} is not a port")
    return Address(host, user or None, int(port) if port else None)


def named(text: str, option: str) -> Address:
    """The host of a flag; ends the program when it is none."""
    try:
        return parse(text)
    except ValueError as error:
        raise bad_usage(f"{option} {text!r}: {error}") from None


def read(path: Path) -> list[Address]:
    """The hosts of a file. Empty lines count for nothing, nor does what follows a #."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a text"
        raise bad_usage(f"--clients {path}: {why}") from None
    found: dict[Address, int] = {}
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        try:
            address = parse(text)
        except ValueError as error:
            raise bad_usage(f"{path}:{number}: {text!r}: {error}") from None
        if address in found:
            raise bad_usage(f"{path}:{number}: {address} stands in line {found[address]} already")
        found[address] = number
    if not found:
        raise bad_usage(f"--clients {path}: no host stands in it")
    return list(found)
