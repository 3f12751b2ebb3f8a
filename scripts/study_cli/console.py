"""Standard streams that may be closed, full, or have lost their reader."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO

GONE = (errno.EPIPE, errno.EIO)  # the reader has left; the terminal was closed


class Stream:
    """A text stream that never fails: once writing does, all that follows is dropped.

    `failure` then says why, except where nobody is left to read.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: str | None = None

    def write(self, text: str) -> int:
        self._guarded(lambda: self._stream.write(_encodable(text)))
        return len(text)

    def flush(self) -> None:
        self._guarded(self._stream.flush)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is buffered is written once more at exit
            os.close(nowhere)
            if error.errno not in GONE:
                self.failure = error.strerror


def _encodable(text: str) -> str:
    """The text without what UTF-8 cannot say; bytes in the names of files stay as they are."""
    try:
        text.encode(errors="surrogateescape")
        return text
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()


def open_streams() -> tuple[Stream, Stream]:
    """Make standard output and standard error usable, and return them.

    A closed one would hand its number to the next file that is opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdin = sys.stdin or open(0)
    sys.stdout = Stream(sys.stdout or open(1, "w"))
    sys.stderr = Stream(sys.stderr or open(2, "w"))
    return sys.stdout, sys.stderr
