"""Connections and programs on other hosts, with a stand-in for ssh that runs its script here."""

import os
import signal
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from harness import ssh
from harness.addresses import parse
from harness.ssh import Connection, Session
from harness.testing import gone
from results.errors import HostLost

# "unknown" and "locked" are hosts that refuse, and "silent" is one that never answers. A host is down
# once there is a file that says so.
SSH = """#!/bin/bash
echo "$*" >>"$FAKE/calls"
host=${@: -2:1}
case $host in
    unknown) echo 'Host key verification failed.' >&2; exit 255;;
    locked) echo 'root@locked: Permission denied (publickey,password).' >&2; exit 255;;
    silent) exec sleep 60;;
esac
[ "$host" = chatty ] && { echo Welcome to chatty; echo no locale >&2; }
[ -e "$FAKE/down-$host" ] && { echo "ssh: connect to host $host: No route to host" >&2; exit 255; }
exec bash -s
"""
LIMIT_S = 10


def eventually(true) -> bool:
    limit = time.monotonic() + LIMIT_S
    while not true() and time.monotonic() < limit:
        time.sleep(0.01)
    return true()


class Hosts(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        (self.folder / "ssh").write_text(SSH)
        (self.folder / "ssh").chmod(0o755)
        self.there = self.folder / "there"
        self.there.mkdir()
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "FAKE": str(self.folder),
                       "TMPDIR": str(self.there)}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)

    def connection(self, host: str = "a", *options: str) -> Connection:
        found = Connection(parse(host), self.folder / "control", options)
        self.addCleanup(found.close)
        return found

    def opened(self, host: str = "a") -> Connection:
        found = self.connection(host)
        found.begin()
        found.opened()
        return found

    def program(self, connection: Connection, text: str) -> Session:
        path = Path(connection.folder, "program")
        path.write_text("#!/bin/bash\n" + text)
        path.chmod(0o700)
        found = Session(connection, [str(path), "two words"])
        self.addCleanup(found.end)
        return found


class Connections(Hosts):
    def test_the_folder_is_private_and_goes_with_the_connection(self) -> None:
        found = self.opened()
        self.assertEqual(os.stat(found.folder).st_mode & 0o777, 0o700)
        self.assertTrue(found.alive)
        found.close()
        self.assertEqual(list(self.there.iterdir()), [])
        self.assertFalse(found.alive)

    def test_a_host_that_refuses_says_why_and_what_to_do(self) -> None:
        for host, words in (("unknown", "Host key verification failed; its key is not known.*by hand"),
                            ("locked", r"Permission denied \(publickey,password\); fix: a key")):
            found = self.connection(host)
            found.begin()
            with self.subTest(host=host), self.assertRaisesRegex(HostLost, words):
                found.opened()

    def test_nobody_waits_for_a_silent_host(self) -> None:
        with mock.patch.multiple(ssh, CONNECT_S=0.1, ALIVE_S=0.0, CLOSE_LIMIT_S=0.1):
            found = self.connection("silent")
            found.begin()
            with self.assertRaisesRegex(HostLost, "did not log in in time"):
                found.opened()

    def test_ssh_asks_for_no_password_and_gives_up_on_a_dead_network(self) -> None:
        self.opened("me@a:2222").run("true")
        keeper, command = (self.folder / "calls").read_text().splitlines()
        for call in (keeper, command):
            for words in ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5",
                          "-l me -p 2222 -- a bash -s"):
                self.assertIn(words, call)
        self.assertIn("-M", keeper.split())
        self.assertNotIn("-M", command.split())

    def test_the_users_options_come_before_the_usual_ones(self) -> None:
        argv = self.connection("a", "ConnectTimeout=3").argv()
        self.assertLess(argv.index("ConnectTimeout=3"), argv.index("ConnectTimeout=10"))
        self.assertLess(argv.index("BatchMode=yes"), argv.index("ConnectTimeout=3"))

    def test_a_command_has_a_code_and_two_outputs(self) -> None:
        found = self.opened().run("echo out; echo 'it''s' >&2; exit 7")
        self.assertEqual(found, (7, "out\n", "its\n"))

    def test_what_the_users_settings_print_counts_for_nothing(self) -> None:
        connection = self.opened("chatty")
        self.assertTrue(os.path.isdir(connection.folder), connection.folder)
        self.assertEqual(connection.run("echo out; exit 1"), (1, "out\n", ""))
        self.assertEqual(connection.run("echo bad >&2")[2], "bad\n")

    def test_a_file_arrives_byte_by_byte_and_may_run(self) -> None:
        connection, data = self.opened(), bytes(range(256)) * 1000
        self.assertEqual(connection.put("file", data).result()[0], 0)
        path = Path(connection.folder, "file")
        self.assertEqual(path.read_bytes(), data)
        self.assertTrue(os.access(path, os.X_OK))

    def test_a_command_on_a_host_that_is_lost(self) -> None:
        connection = self.opened()
        with self.assertRaisesRegex(HostLost, "host a was lost: the connection broke"):
            connection.run("exit 255")
        with self.assertRaisesRegex(HostLost, "has not answered for 0 s"):
            connection.run("sleep 30", limit_s=0.2)


class Programs(Hosts):
    def test_it_starts_when_told_and_its_code_and_output_come_back(self) -> None:
        program = self.program(self.opened(), 'echo "$# $1"; echo problem >&2; exit 3')
        time.sleep(0.1)
        self.assertEqual(program.output(), "")
        program.go()
        self.assertEqual(program.wait(LIMIT_S), 3)
        self.assertEqual((program.output(), program.errors()), ("1 two words\n", "problem\n"))
        self.assertEqual(program.ending(), "program on a ended with 3: problem")

    def test_signals_reach_it(self) -> None:
        program = self.program(self.opened(), "trap 'echo asked; exit 0' TERM; echo $$\n"
                                              "while :; do sleep 0.02; done")
        program.go()
        self.assertTrue(eventually(lambda: program.output()))
        self.assertEqual(program.pid, int(program.output()))
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait(LIMIT_S), 0)
        self.assertIn("asked", program.output())

    def test_it_has_all_descriptors_that_it_may_have(self) -> None:
        program = self.program(self.opened(), "ulimit -Sn; ulimit -Hn")
        program.go()
        program.wait(LIMIT_S)
        soft, hard = program.output().split()
        self.assertEqual(soft, hard)

    def running(self, connection: Connection) -> tuple[Session, int]:
        program = self.program(connection, "echo $$; exec sleep 60")
        program.go()
        self.assertTrue(eventually(lambda: program.pid and program.output()))
        return program, program.pid

    def test_it_ends_when_we_leave_it(self) -> None:
        program, pid = self.running(self.opened())
        program.end()
        self.assertTrue(gone(pid))

    def test_it_ends_when_ssh_is_killed(self) -> None:
        program, pid = self.running(self.opened())
        program.popen.kill()
        program.popen.stdin.close()  # which sshd does for an ssh that has gone
        self.assertTrue(eventually(lambda: gone(pid)))

    def test_one_that_does_not_listen_is_forced(self) -> None:
        program = self.program(self.opened(), "trap '' TERM; echo $$; while :; do sleep 0.1; done")
        program.go()
        self.assertTrue(eventually(lambda: program.pid and program.output()))
        pid = program.pid
        program.end()
        self.assertTrue(gone(pid))

    def test_it_ends_with_the_connection_of_its_host(self) -> None:
        connection = self.opened()
        program, pid = self.running(connection)
        connection.close()
        self.assertTrue(eventually(lambda: gone(pid)))
        self.assertNotEqual(program.wait(LIMIT_S), 0)

    def test_silence_ends_everything_on_a_host(self) -> None:
        """As when the network is lost, which the host's sshd does not notice."""
        with mock.patch.multiple(ssh, SILENCE_S=1, BEAT_S=60.0):
            connection = self.opened()
            _, pid = self.running(connection)
            self.assertTrue(eventually(lambda: gone(pid)))
            self.assertTrue(eventually(lambda: list(self.there.iterdir()) == []))

    def test_a_program_that_silence_has_ended_is_a_lost_host_too(self) -> None:
        with mock.patch.multiple(ssh, SILENCE_S=1, BEAT_S=60.0):
            program, _ = self.running(self.opened())
            self.assertTrue(eventually(lambda: not program.running))
            self.assertTrue(eventually(lambda: isinstance(program.failure("when"), HostLost)))

    def test_beats_keep_a_host_alive(self) -> None:
        with mock.patch.multiple(ssh, SILENCE_S=2, BEAT_S=0.1):
            connection = self.opened()
            time.sleep(2.5)
            self.assertTrue(connection.alive)

    def test_nothing_starts_on_a_host_whose_connection_has_ended(self) -> None:
        connection = self.opened()
        program = self.program(connection, "sleep 60")
        connection.close()
        program.go()
        self.assertNotEqual(program.wait(LIMIT_S), 0)

    def test_a_connection_that_breaks_is_a_lost_host(self) -> None:
        program, _ = self.running(self.opened())
        program.popen.kill()
        program.popen.wait()
        found = program.failure("in the middle of a measurement")
        self.assertIsInstance(found, HostLost)
        self.assertEqual(str(found), "host a was lost: the connection broke")


class Sections(unittest.TestCase):
    def test_texts_by_name(self) -> None:
        said = "\n@@ /proc/stat\ncpu 1 2\n\n@@ two words\n\n@@ x\nlast"
        self.assertEqual(ssh.sections(said), {"/proc/stat": "cpu 1 2\n", "two words": "", "x": "last"})


if __name__ == "__main__":
    unittest.main()
