import errno
import subprocess
import sys
import unittest
from pathlib import Path

from harness import io_uring
from harness.testing import forbid_io_uring

PROGRAM = "from harness import io_uring; print(io_uring.refusal())"


class Refusals(unittest.TestCase):
    def test_a_sandbox_is_noticed(self) -> None:
        """Only where the kernel itself would allow it does the reason have to be the sandbox."""
        found = subprocess.run([sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[1],
                               capture_output=True, text=True, preexec_fn=forbid_io_uring)
        self.assertEqual(found.returncode, 0, found.stderr)
        self.assertIn("Refusal(", found.stdout)
        if not io_uring.refusal():
            self.assertIn("a sandbox (seccomp) forbids it", found.stdout)

    def test_errors_in_words(self) -> None:
        cases = {(errno.EPERM, 2): ("kernel.io_uring_disabled is 2", "sysctl"),
                 (errno.EPERM, 0): ("a sandbox (seccomp) forbids it", "sandbox"),
                 (errno.EPERM, None): ("a sandbox (seccomp) forbids it", "sandbox"),
                 (errno.ENOMEM, 0): ("too little memory may be locked", "memory"),
                 (errno.EMFILE, 0): ("Too many open files", "unknown")}
        for (number, disabled), (why, fix) in cases.items():
            self.assertEqual(io_uring.explained(number, disabled), io_uring.Refusal(why, fix))
        self.assertIn("Linux 6.1 or newer is needed, this is ", io_uring.explained(22, 0).why)


if __name__ == "__main__":
    unittest.main()
