"""Whether this machine lets a program use io_uring as the server does; if not, why, and the fix."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

from harness.process import number_of

# The system calls io_uring_setup() and so on, of the same numbers on almost every architecture.
SETUP, ENTER, REGISTER = 425, 426, 427
SINGLE_ISSUER, DEFER_TASKRUN = 1 << 12, 1 << 13
PARAMS_BYTES = 120
DISABLED = "/proc/sys/kernel/io_uring_disabled"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Refusal:
    """fix: one of sysctl, sandbox, absent, kernel, memory, unknown."""

    why: str
    fix: str


def refusal() -> Refusal | None:
    """None where a ring like the server's can be made."""
    wanted = struct.pack("=3I", 0, 0, SINGLE_ISSUER | DEFER_TASKRUN).ljust(PARAMS_BYTES, b"\0")
    made = _libc.syscall(SETUP, 8, ctypes.create_string_buffer(wanted, PARAMS_BYTES))
    if made >= 0:
        os.close(made)
        return None
    return explained(ctypes.get_errno(), number_of(DISABLED))


def explained(number: int, disabled: int | None) -> Refusal:
    """The error of io_uring_setup(), beside what the kernel's switch says."""
    if number == errno.EPERM and disabled:
        return Refusal(f"kernel.io_uring_disabled is {disabled}", "sysctl")
    if number == errno.EPERM:
        return Refusal("a sandbox (seccomp) forbids it", "sandbox")
    if number == errno.ENOSYS:
        return Refusal("this kernel has none, or a sandbox (seccomp) hides it", "absent")
    if number == errno.EINVAL:
        return Refusal(f"Linux 6.1 or newer is needed, this is {platform.release()}", "kernel")
    if number == errno.ENOMEM:
        return Refusal("too little memory may be locked", "memory")
    return Refusal(os.strerror(number), "unknown")
