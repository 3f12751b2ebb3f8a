import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import syscalls

CPU = min(os.sched_getaffinity(0))


class Isolation(unittest.TestCase):
    def isolation(self, meltdown: str, flags: str) -> str | None:
        texts = {syscalls.MELTDOWN: meltdown, "/proc/cpuinfo": flags}
        with mock.patch.object(syscalls, "text_of", side_effect=texts.__getitem__):
            return syscalls.isolation()

    def test_what_the_machine_says(self) -> None:
        cases = {("Mitigation: PTI", "flags\t\t: fpu pcid pti"): "on, with PCID",
                 ("Mitigation: PTI", "flags\t\t: fpu pti"): "on, without PCID",
                 ("Mitigation: PTI", "Features : fp"): "on",
                 ("Not affected", "flags\t\t: fpu pcid"): "off",
                 ("Vulnerable", "flags\t\t: fpu pcid"): "off",
                 ("Unknown (XEN PV detected, hypervisor mitigation required)", ""): None,
                 ("", ""): None}
        for said, expected in cases.items():
            self.assertEqual(self.isolation(*said), expected, said)


class Cost(unittest.TestCase):
    def program(self, text: str) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "syscall_cost")
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def test_what_the_program_prints(self) -> None:
        self.assertEqual(syscalls.cost_ns(CPU, self.program("echo 66.1")), 66.1)

    def test_unknown_where_it_is_not_built_or_fails(self) -> None:
        for text in ("exit 1", "echo words", "exit 0"):
            self.assertIsNone(syscalls.cost_ns(CPU, self.program(text)), text)
        self.assertIsNone(syscalls.cost_ns(CPU, Path("/no/such/program")))
        with mock.patch.object(syscalls, "cost_ns", return_value=None):
            self.assertIn("was not measured", syscalls.words(CPU))
        with mock.patch.object(syscalls, "cost_ns", return_value=66.1):
            self.assertIn("takes 66 ns", syscalls.words(CPU))


if __name__ == "__main__":
    unittest.main()
