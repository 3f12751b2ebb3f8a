import contextlib
import io
import unittest
from unittest import mock

from harness import perf, side_by_side
from harness.contenders import Contender
from harness.side_by_side import Load, Results
from results.errors import Failed

CPUS = [0, 1]
CONNECTIONS = 50
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


class Calls(unittest.TestCase):
    def counted(self, refusal: str, *costs: object) -> tuple[Results, str]:
        found, said = Results(), io.StringIO()
        with (mock.patch.object(perf, "trial_of_tracepoints", return_value=refusal),
              mock.patch.object(side_by_side, "calls_of", side_effect=costs),
              contextlib.redirect_stderr(said)):
            side_by_side.count_calls(found, [script("good", ""), script("bad", "")], 1, CPUS)
        return found, said.getvalue()

    def test_each_server_once_and_what_they_are(self) -> None:
        good = {"name": "good", "total": 2.5, "recv": 1.0, "send": 1.0, "close": 0.0}
        found, said = self.counted("", good, Failed("gone"))
        self.assertEqual(found.calls, [good])
        self.assertEqual(found.failures, {"bad": "counting system calls: gone"})
        self.assertIn("good: system calls per request: total 2.50, recv 1.00, send 1.00\n", said)

    def test_where_perf_may_not_count_nothing_is_started(self) -> None:
        found, said = self.counted("No permissions to read")
        self.assertEqual((found.calls, found.failures), ([], {}))
        self.assertEqual(found.uncounted, "No permissions to read")
        self.assertIn("note: system calls are not counted: No permissions to read", said)

    @unittest.skipIf(perf.trial_of_tracepoints(), "perf may not count system calls here")
    def test_the_calls_of_a_server_that_makes_three(self) -> None:
        """wait, receive and send, on connections that are all kept."""
        keeps = FORGETFUL.replace("kept <= 31", "True")
        with mock.patch.object(side_by_side, "CALL_CONNECTIONS", 1):
            found = side_by_side.calls_of(script("keeps", keeps), 1, CPUS)
        self.assertAlmostEqual(found["total"], 3, delta=0.2)
        self.assertAlmostEqual(found["recv"], 1, delta=0.1)


class AbsentServers(unittest.TestCase):
    def test_they_are_left_out_with_a_reason(self) -> None:
        absent = Contender("absent", lambda *_: ["false"], absent=lambda: "not here")
        found = Results()
        with contextlib.redirect_stderr(io.StringIO()):
            kept = found.present([script("good", ""), absent])
        self.assertEqual([entry.name for entry in kept], ["good"])
        self.assertEqual(found.failures, {"absent": "not here"})


if __name__ == "__main__":
    unittest.main()
