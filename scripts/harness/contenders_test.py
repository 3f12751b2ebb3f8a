import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import contenders, environment, io_uring, side_by_side
from harness.contenders import Contender
from harness.measured_server import get
from results.errors import Failed, Stop

CPUS = [0, 1]
CONNECTIONS = 50
NO_NGINX, NO_H2O = contenders.why_absent("nginx"), contenders.why_absent("h2o")
# Characters that have a meaning in nginx's configuration, or in a shell.
ODD = "a b;{c} #'\"$d ${e}\\ü,:&%"


def named(name: str) -> Contender:
    return next(entry for entry in contenders.contenders() if entry.name == name)


class Started(unittest.TestCase):
    def test_a_server_that_ends_at_once_says_why(self) -> None:
        entry = Contender("broken", lambda *_: ["sh", "-c", "echo no such luck; exit 1"])
        with self.assertRaisesRegex(Failed, "broken was not ready: no such luck"):
            with side_by_side.started(entry, CPUS, CONNECTIONS):
                pass

    def check(self, name: str) -> None:
        with side_by_side.started(named(name), CPUS, CONNECTIONS) as (child, url):
            self.assertEqual(get(url + "/"), (200, b""))
        self.assertFalse(child.running)

    @unittest.skipUnless(shutil.which("node"), "needs node (scripts/setup installs it)")
    def test_node_answers(self) -> None:
        self.check("Node.js")

    @unittest.skipIf(NO_NGINX, NO_NGINX)
    def test_nginx_answers_and_leaves_nothing_running(self) -> None:
        self.check("nginx")

    @unittest.skipIf(NO_H2O, NO_H2O)
    def test_h2o_answers_and_leaves_nothing_running(self) -> None:
        self.check("h2o")

    @unittest.skipIf(NO_NGINX or NO_H2O, NO_NGINX or NO_H2O)
    def test_they_start_in_a_folder_of_any_name(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, ODD)
            folder.mkdir()
            with mock.patch.object(tempfile, "tempdir", str(folder)):
                for name in ("nginx", "h2o"):
                    self.check(name)


class SizedToTheNumber(unittest.TestCase):
    def setUp(self) -> None:
        environment.raise_file_limit()
        patch = mock.patch.object(side_by_side, "_cpu_while_idle", return_value=0.0)
        patch.start()
        self.addCleanup(patch.stop)

    @unittest.skipIf(NO_NGINX or NO_H2O, NO_NGINX or NO_H2O)
    def test_they_keep_every_idle_connection(self) -> None:
        with mock.patch.object(environment, "SPARE_FILES", 2):  # the GET, and nothing to spare
            for name in ("nginx", "h2o"):
                for connections in (1, 15, 16, 300):
                    side_by_side.idle_bytes(named(name), connections, CPUS)

    @unittest.skipIf(NO_NGINX, NO_NGINX)
    def test_one_that_is_too_small_would_be_seen(self) -> None:
        with (mock.patch.object(contenders, "nginx_slots", return_value=250),
              self.assertRaises(Failed)):
            side_by_side.idle_bytes(named("nginx"), 300, CPUS)


class Absent(unittest.TestCase):
    def reasons(self, refused: io_uring.Refusal | None, ring: Path,
                tools: str = "/no/such/folder") -> dict[str, str]:
        with (mock.patch.object(io_uring, "refusal", return_value=refused),
              mock.patch.object(contenders, "TOOLS", Path(tools)),
              mock.patch.object(contenders, "BARE_RING", ring),
              mock.patch.object(contenders, "found_program", return_value=None)):
            return {entry.name: why for entry in contenders.contenders() if (why := entry.absent())}

    def test_what_this_machine_cannot_have_says_why(self) -> None:
        refused = io_uring.Refusal("a sandbox (seccomp) forbids it", "sandbox")
        found = self.reasons(refused, Path("/"))
        for name in (contenders.RING, "idlewheel --io io_uring"):
            self.assertIn("io_uring is not available: a sandbox", found.pop(name))
        self.assertEqual(found, dict.fromkeys(["nginx", "h2o"], "not found; fix: scripts/setup"))
        found = self.reasons(None, Path("/no/such/ring"))
        self.assertRegex(found[contenders.RING], "built without liburing.*--target bare$")
        self.assertNotIn("idlewheel --io io_uring", found)

    def test_a_release_without_the_package_is_named(self) -> None:
        with tempfile.TemporaryDirectory() as tools:
            Path(tools, "h2o.absent").write_text("Debian 13 has no package h2o\n")
            found = self.reasons(None, Path("/"), tools)
        self.assertEqual(found["h2o"], "h2o is not available: Debian 13 has no package h2o")
        self.assertEqual(found["nginx"], "not found; fix: scripts/setup")

    def test_pipelined_requests_leave_the_bare_servers_out(self) -> None:
        alone, many = ([entry.name for entry in contenders.contenders(n)] for n in (1, 16))
        self.assertEqual(alone[:3], [contenders.FLOOR, contenders.EDGE, contenders.RING])
        self.assertEqual(many, alone[3:])

    def test_without_our_own_server_nothing_starts(self) -> None:
        with (mock.patch.object(contenders, "OWN_BINARY", Path("/no/such/server")),
              self.assertRaises(Stop) as caught):
            contenders.require_built()
        self.assertEqual(caught.exception.code, 3)
        self.assertIn("--target idlewheel-server", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
