"""One measurement at a time on a machine: two would measure each other.

The lock is a socket in the kernel's abstract namespace, @idlewheel-study. It belongs to no folder
and no user, ends with its process, and is not inherited by children. The namespace is that of the
network: a container with a network of its own counts as a machine of its own.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from results.errors import cannot

NAME = os.environ.get("IDLEWHEEL_STUDY_LOCK", "idlewheel-study")  # tests choose another one
WAITING = 4096  # length of the socket's queue, in which every refused process stays


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock in the block; ends the program when another process has it."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(_address())
        except OSError:
            raise cannot(f"another study is running on this machine ({_holder()}): wait for it, or "
                         "end it") from None
        lock.listen(WAITING)
        yield


def _address() -> bytes:
    return b"\0" + os.fsencode(NAME)


def _holder() -> str:
    """The process that listens; its number is 0 where it is not of our process namespace."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(_address())
            credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:  # it has just ended, or does not listen yet
            return "process unknown"
    pid, uid, _ = struct.unpack("iii", credentials)
    return f"process {pid or 'unknown'} of user {uid}"
