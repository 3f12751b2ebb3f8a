import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import lock
from harness.process import Child
from results.errors import CANNOT, Stop

SCRIPTS = Path(__file__).resolve().parents[1]
HOLDER = """
import os, sys
from harness import lock
os.setuid(int(sys.argv[1]))
with lock.alone():
    print("held", flush=True)
    input()
"""


class Alone(unittest.TestCase):
    def setUp(self) -> None:
        name = f"idlewheel-study-test-{os.getpid()}"
        for patch in (mock.patch.object(lock, "NAME", name),
                      mock.patch.dict(os.environ, IDLEWHEEL_STUDY_LOCK=name)):
            patch.start()
            self.addCleanup(patch.stop)

    def refused(self) -> str:
        with self.assertRaises(Stop) as caught:
            with lock.alone():
                self.fail("not refused")
        self.assertEqual(caught.exception.code, CANNOT)
        return str(caught.exception)

    def hold(self, user: int, **options: object) -> subprocess.Popen:
        """Another process that holds the lock until it gets a line."""
        other = subprocess.Popen([sys.executable, "-c", HOLDER, str(user)], cwd=SCRIPTS, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.addCleanup(other.communicate)
        self.addCleanup(other.kill)
        self.assertEqual(other.stdout.readline(), "held\n")
        return other

    def test_the_second_is_refused_with_the_process_and_the_next_is_not(self) -> None:
        with lock.alone():
            for _ in range(3):
                self.assertIn(f"process {os.getpid()} of user {os.getuid()}", self.refused())
        with lock.alone():
            pass

    def test_another_folder_for_temporary_files_and_another_user_change_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            user = 65534 if os.geteuid() == 0 else os.getuid()  # only root can be another one
            other = self.hold(user, env={**os.environ, "TMPDIR": folder})
        self.assertIn(f"process {other.pid} of user {user}", self.refused())

    def test_a_killed_process_holds_nothing(self) -> None:
        other = self.hold(os.getuid())
        other.send_signal(signal.SIGKILL)
        other.wait()
        with lock.alone():
            pass

    def test_children_do_not_inherit_it(self) -> None:
        with lock.alone():
            child = Child(["sleep", "60"])
        with child, lock.alone():
            self.assertTrue(child.running)

    def test_nothing_is_written_to_a_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            precious = Path(folder, "precious")
            precious.write_text("thesis")
            Path(folder, "idlewheel-study.lock").symlink_to(precious)
            with mock.patch.object(tempfile, "tempdir", folder), lock.alone():
                pass
            self.assertEqual(precious.read_text(), "thesis")
            self.assertEqual(len(os.listdir(folder)), 2)


if __name__ == "__main__":
    unittest.main()
