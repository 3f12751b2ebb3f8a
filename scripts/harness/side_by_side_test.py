import contextlib
import io
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import environment, side_by_side
from harness.measured_server import get
from harness.side_by_side import Contender, Load, Results
from results.errors import Failed, Stop

CPUS = [0, 1]
CONNECTIONS = 50
NGINX = side_by_side._found_nginx()
# Characters that have a meaning in nginx's configuration, or in a shell.
ODD = "a b;{c} #'\"$d ${e}\\ü,:&%"
# A server of one thread that keeps the first 30 connections only.
FORGETFUL = """
import selectors, socket
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
print("listening on http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
ready, kept = selectors.DefaultSelector(), 0
ready.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        if key.fileobj is listener:
            ready.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        peer = key.fileobj
        if peer.recv(4096):
            kept += 1
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
            if kept <= 31:  # one of them is the GET that checks the server
                continue
        ready.unregister(peer)
        peer.close()
"""


def sample(name: str, connections: int, us: float) -> dict:
    return {"name": name, "connections": connections, "us": us, "user_us": us / 4}


def script(name: str, text: str) -> Contender:
    return Contender(name, lambda *_: ["python3", "-c", text])


def named(name: str) -> Contender:
    return next(entry for entry in side_by_side.contenders() if entry.name == name)


class Table(unittest.TestCase):
    SAMPLES = [sample("ours", 400, 6.0), sample("floor", 400, 5.0), sample("floor", 400, 4.0),
               sample("floor", 400, 30.0), sample("ours", 400, 7.0), sample("ours", 400, 5.5),
               sample("floor", 5000, 8.0), sample("ours", 5000, 8.0)]

    def lines(self, found: Results) -> list[str]:
        return side_by_side.table(["floor", "ours"], [400, 5000], found,
                                  weighed=bool(found.memory)).splitlines()

    def test_a_server_that_failed_keeps_its_row_with_what_it_had_and_the_reason(self) -> None:
        kept = [s for s in self.SAMPLES if (s["name"], s["connections"]) != ("floor", 5000)]
        lines = self.lines(Results(kept, failures={"floor": "5000 connections: a|b"}))
        self.assertEqual(lines[0].split(" | ")[-1], "failed |")
        self.assertEqual(lines[2], "| floor | 5.00 (1.00x) | - | 1.25 | - | "
                                   "5000 connections: a\\|b |")
        self.assertEqual(lines[3], "| ours | 6.00 (1.20x) | 8.00 | 1.50 | 2.00 |  |")

    def test_medians_and_ratios_to_the_first_name(self) -> None:
        lines = self.lines(Results(self.SAMPLES))
        self.assertEqual(lines[2], "| floor | 5.00 (1.00x) | 8.00 (1.00x) | 1.25 | 2.00 |")
        self.assertEqual(lines[3], "| ours | 6.00 (1.20x) | 8.00 (1.00x) | 1.50 | 2.00 |")

    def test_memory_where_it_was_weighed(self) -> None:
        memory = [{"name": name, "bytes": 588.4, "idle_cpu": 0.0} for name in ("floor", "ours")]
        lines = self.lines(Results(self.SAMPLES, memory))
        self.assertTrue(lines[0].endswith("| bytes per idle connection | CPU while idle |"),
                        lines[0])
        self.assertTrue(lines[3].endswith("| 588 | 0.00% |"), lines[3])


class Failures(unittest.TestCase):
    def attempts(self, costs: object) -> tuple[Results, list[tuple[str, int]]]:
        asked = []

        def cost_of(entry: Contender, load: Load, _: list[int]) -> dict:
            asked.append((entry.name, load.connections))
            if entry.name == "bad" and load.connections == 20:
                raise costs
            return sample(entry.name, load.connections, 1.0)

        found = Results()
        entries = [script("good", ""), script("bad", "")]
        with (mock.patch.object(side_by_side, "cost_of", side_effect=cost_of),
              contextlib.redirect_stderr(io.StringIO())):
            side_by_side.run(found, entries, [Load(10, 1, 1.0), Load(20, 1, 1.0)], 3, 1, CPUS)
        return found, asked

    def test_one_that_fails_under_a_load_is_not_asked_again_and_the_others_go_on(self) -> None:
        for error in (Failed("gone"), OSError("gone"), ConnectionResetError("gone")):
            found, asked = self.attempts(error)
            self.assertEqual(asked.count(("bad", 20)), 1)
            self.assertEqual((asked.count(("bad", 10)), asked.count(("good", 20))), (3, 3))
            self.assertEqual(len(found.samples), 9)
            self.assertEqual(found.failures, {"bad": "20 connections: gone"})

    def test_idle_connections_that_the_server_closes_are_said_and_not_divided_by(self) -> None:
        found = Results()
        with (mock.patch.object(side_by_side, "_cpu_while_idle", return_value=0.0),
              contextlib.redirect_stderr(io.StringIO())):
            side_by_side.weigh(found, [script("forgetful", FORGETFUL)], CONNECTIONS, CPUS)
        self.assertEqual(found.memory, [])
        # The last one may be on its way.
        self.assertRegex(found.failures["forgetful"],
                         "^50 idle connections: closed (19|20) of 50 idle connections$")

    def test_a_program_that_is_not_built_names_the_command_that_builds_it(self) -> None:
        entry = Contender("floor", lambda *_: ["/no/such/program"], ("bare_epoll",))
        with self.assertRaisesRegex(Failed, "No such file.*cmake --build .* --target bare_epoll"):
            with side_by_side.started(entry, CPUS, CONNECTIONS):
                pass

    def test_without_our_own_server_nothing_starts(self) -> None:
        with (mock.patch.object(side_by_side, "OWN_BINARY", Path("/no/such/server")),
              self.assertRaises(Stop) as caught):
            side_by_side.require_built()
        self.assertEqual(caught.exception.code, 3)
        self.assertIn("--target idlewheel-server", str(caught.exception))


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

    @unittest.skipUnless(NGINX, "needs nginx (scripts/setup installs it)")
    def test_nginx_answers_and_leaves_nothing_running(self) -> None:
        self.check("nginx")

    @unittest.skipUnless(NGINX, "needs nginx (scripts/setup installs it)")
    def test_nginx_starts_in_a_folder_of_any_name(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, ODD)
            folder.mkdir()
            with mock.patch.object(tempfile, "tempdir", str(folder)):
                self.check("nginx")


@unittest.skipUnless(NGINX, "needs nginx (scripts/setup installs it)")
class NginxIsSizedToTheNumber(unittest.TestCase):
    def test_it_keeps_every_idle_connection(self) -> None:
        environment.raise_file_limit()
        with (mock.patch.object(side_by_side, "_cpu_while_idle", return_value=0.0),
              mock.patch.object(environment, "SPARE_FILES", 1)):  # nothing to spare
            for connections in (1, 15, 16, 300):
                side_by_side.idle_bytes(named("nginx"), connections, CPUS)

    def test_one_that_is_too_small_would_be_seen(self) -> None:
        with (mock.patch.object(side_by_side, "_cpu_while_idle", return_value=0.0),
              mock.patch.object(side_by_side, "_nginx_slots", return_value=250),
              self.assertRaises(Failed)):
            side_by_side.idle_bytes(named("nginx"), 300, CPUS)


if __name__ == "__main__":
    unittest.main()
