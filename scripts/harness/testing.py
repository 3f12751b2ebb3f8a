"""Fixtures of the tests: a server that only pretends, and a lock that no study holds."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import struct
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import io_uring, lock

FAKE = r"""#!/usr/bin/python3
import json, signal, socket, sys, threading, time
MODE = "{mode}"
def flag(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default
IO = "" if MODE == "old" else "epoll" if MODE == "deaf" else flag("--io", "epoll")
if MODE == "old" and "--io" in sys.argv:
    print("idlewheel-server: unknown argument '--io'; see --help", file=sys.stderr)
    sys.exit(2)
if MODE == "no ring" and IO == "io_uring":
    print("idlewheel-server: io_uring is not available: Operation not permitted", file=sys.stderr)
    sys.exit(1)
if "--list-timer-backends" in sys.argv:
    print("ordered-list\t2\tsoonest first\nnone\t-\tcontrol")
    sys.exit(0)
if "--version" in sys.argv:
    print("idlewheel-server 9.9")
    sys.exit(0)
if MODE == "refuses":
    print("cannot bind 127.0.0.1:1", file=sys.stderr)
    sys.exit(1)
STATS = {stats}
if IO:
    STATS["io"] = IO
def listen(body):
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        while True:
            peer, _ = listener.accept()
            peer.recv(4096)
            text = body()
            peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                         % len(text) + text)
            peer.close()
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]
def stats():
    if MODE == "busy":
        now = time.monotonic_ns()
        STATS.update(requests=now // 10**6, cpu_ns=now // 2, mono_ns=now)
    return json.dumps(STATS).encode()
main, admin = listen(bytes), listen(stats)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3 if MODE == "dirty" else 0))
print(f"listening on http://127.0.0.1:{{main}} backend={{flag('--timer-backend', 'ordered-list')}} "
      f"rearm={{flag('--rearm', 'lazy')}} threads=1 {{f'io={{IO}} ' if IO else ''}}"
      f"admin=http://127.0.0.1:{{admin}}", flush=True)
while True:
    signal.pause()
"""
STATS = {"requests": 1, "responses": 1, "writes": 1, "bytes_out": 1,
         "connections": {"open": 0, "closed": {"request": 0}},
         "timers": {"armed": 0, "rearmed": 0, "moved": 0, "disarmed": 0, "expired": 0,
                    "late_us": {"p50": 0, "p99": 0, "max": 0}}, "cpu_ns": 1, "mono_ns": 1}


_REFUSED = io_uring.refusal()
# unittest_run.py knows these words: scripts/setup cannot bring what the machine refuses.
needs_io_uring = unittest.skipIf(_REFUSED, f"io_uring is not available: {_REFUSED and _REFUSED.why}")


def forbid_io_uring(call: int = io_uring.SETUP, error: int = errno.EPERM) -> None:
    """Sandboxes this process, and those that it starts: this system call fails with the error.

    To be called in a child before it runs a program (preexec_fn).
    """
    load, equal, leave = 0x20, 0x15, 0x06  # of the kernel's filter language
    allow, refuse = 0x7FFF0000, 0x00050000 | error
    steps = b"".join(struct.pack("=HBBI", *step) for step in (
        (load, 0, 0, 0), (equal, 0, 1, call), (leave, 0, 0, refuse), (leave, 0, 0, allow)))
    text = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("@HP", 4, ctypes.addressof(text))
    libc = ctypes.CDLL(None)
    no_new_privileges, set_filter = (38, 1, 0, 0, 0), (22, 2, ctypes.c_char_p(program), 0, 0)
    if libc.prctl(*no_new_privileges) or libc.prctl(*set_filter):
        raise OSError("this kernel has no seccomp filters")


def gone(pid: int) -> bool:
    """Ended, or a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Fakes(unittest.TestCase):
    """A folder of its own for temporary files and fake servers, and a lock of its own."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name).resolve()
        # Not the real lock of the machine, so that no study keeps the tests from running.
        name = f"idlewheel-study-test-{os.getpid()}"
        for patch in (mock.patch.object(tempfile, "tempdir", scratch.name),
                      mock.patch.object(lock, "NAME", name),
                      mock.patch.dict(os.environ, TMPDIR=scratch.name, IDLEWHEEL_STUDY_LOCK=name)):
            patch.start()
            self.addCleanup(patch.stop)

    def fake(self, mode: str = "good", stats: dict | None = None) -> str:
        """A server of that mode; the requests and the CPU time of a busy one grow by themselves.

        An old one knows no --io, a deaf one ignores it, and one of "no ring" cannot have io_uring.
        """
        path = self.folder / "idlewheel-server"
        path.write_text(FAKE.format(mode=mode, stats=json.dumps(stats or STATS)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)
