"""A study on other hosts, with stand-ins for ssh, the server and wrk: all of it runs here."""

import json
import os
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from harness import inspection, machines, measure, plan
from harness.addresses import parse
from harness.machines import Asked, There, answer, asking, process
from harness.measured_server import Binary, stats_in
from harness.measure import Bench
from harness.ssh_test import Hosts
from harness.testing import FAKE, STATS
from results.cell import Cell, Measurement
from results.errors import Failed, Stop

CONNECTIONS = 10
WRK = """#!/bin/bash
[ "$1" = -v ] && { echo "wrk 4.1.0 [epoll] Copyright"; exit 1; }
for word; do last=$word; case $word in *.lua) [ -f "$word" ] || exit 9;; esac; done
[ -e "$FAKE/wrk-fails" ] && { echo "unable to connect" >&2; exit 1; }
trap 'echo "  100 requests in 1.00s, 1MB read"; echo "bucket 10 90"; echo "bucket 2000 10"; exit 0' INT
while :; do sleep 0.02; done
"""
PERF = """#!/bin/bash
[ "$1" = --version ] && { [ -e "$FAKE/no-perf" ] || echo perf version 6; exit 0; }
echo 'no perf here' >&2
exit 1
"""
PLANNED = Measurement("load", 1, Cell("respond", "default", "ordered-list", "lazy", CONNECTIONS))


class Study(Hosts):
    def setUp(self) -> None:
        super().setUp()
        for name, text in (("wrk", WRK), ("perf", PERF)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        stats = STATS | {"connections": {"open": CONNECTIONS, "closed": {"request": 0}}}
        server = self.folder / "server"
        server.write_text(FAKE.format(mode="busy", stats=json.dumps(stats)))
        self.binary = Binary(str(server), "idlewheel-server 9.9", ["ordered-list", "none"])
        # Here all hosts are one machine, which is no fault in this test.
        patch = mock.patch.object(inspection, "_twice", return_value=[])
        patch.start()
        self.addCleanup(patch.stop)
        self.said: list[str] = []

    def study_on(self, *clients: str, port: int = 0) -> There:
        control = self.folder / "control"
        control.mkdir(exist_ok=True)
        found = There(Asked(parse("s"), list(map(parse, clients or ("a", "b", "c"))), [], "127.0.0.1",
                            port), control)
        self.addCleanup(found.close)
        return found

    def prepared(self, profiles: bool = False) -> There:
        found = self.study_on()
        found.prepare(self.binary, CONNECTIONS, self.said.append, profiles)
        return found

    def refused(self, there: There) -> list[str]:
        with self.assertRaises(Stop) as caught:
            there.prepare(self.binary, CONNECTIONS, self.said.append, False)
        self.assertEqual(caught.exception.code, 3)
        self.assertIn("cannot take part", str(caught.exception))
        return self.said

    def bench(self, there: There) -> Bench:
        return Bench(self.binary, replace(plan.PRESETS["smoke"], window_s=0.1, settle_s=0.0), self.folder,
                     there)


class Measuring(Study):
    def test_a_sample_has_the_sum_of_all_and_the_part_of_each(self) -> None:
        there = self.prepared()
        found = measure.make_sample(self.bench(there), PLANNED)
        self.assertTrue(found.valid, found.error)
        self.assertEqual(found.wrk.requests, 300)
        self.assertEqual((found.wrk.latency_us.p50, found.wrk.latency_us.p99), (10, 2000))
        self.assertEqual({host: part["connections"] for host, part in found.clients.items()},
                         {"a": 4, "b": 3, "c": 3})
        self.assertEqual((found.connections_asked, found.connections_open), (CONNECTIONS, CONNECTIONS))
        self.assertGreater(found.requests, 0)
        self.assertIsNotNone(found.cpu.outside_s)
        self.assertGreater(found.rss_kib, 0)
        there.close()
        self.assertEqual(list(self.there.iterdir()), [])

    def test_a_client_whose_wrk_fails_fails_the_cell(self) -> None:
        there = self.prepared()
        (self.folder / "wrk-fails").touch()
        found = measure.make_sample(self.bench(there), PLANNED)
        self.assertEqual((found.valid, found.flags), (False, ["failed"]))
        self.assertIn("wrk on a ended with 1: unable to connect", found.error)

    def test_a_server_whose_host_is_lost_in_the_middle_marks_the_cell(self) -> None:
        there, serve, load = self.prepared(), There.server, There.load
        started = []

        def server(*given: object) -> machines.RemoteServer:
            started.append(serve(*given))
            return started[0]

        def loses(*given: object) -> object:
            started[0].popen.kill()
            return load(*given)

        with mock.patch.object(There, "server", server), mock.patch.object(There, "load", loses):
            found = measure.make_sample(self.bench(there), PLANNED)
        self.assertEqual((found.valid, found.flags), (False, ["failed", "lost_host"]))
        self.assertIn("host s was lost: the connection broke", found.error)

    def test_a_host_that_was_lost_is_connected_to_again_for_the_next_cell(self) -> None:
        there = self.prepared()
        connection = there._clients[1]
        first = connection.folder
        connection.close()
        found = measure.make_sample(self.bench(there), PLANNED)
        self.assertTrue(found.valid, found.error)
        self.assertNotEqual(connection.folder, first)

    def test_where_it_cannot_be_the_cell_is_marked_and_not_smaller(self) -> None:
        there = self.prepared()
        there._clients[1].close()
        (self.folder / "down-b").touch()
        found = measure.make_sample(self.bench(there), PLANNED)
        self.assertEqual((found.valid, found.flags, found.wrk), (False, ["failed", "lost_host"], None))
        self.assertIn("host b was lost: ssh: connect to host b: No route to host", found.error)

    def test_the_manifest_names_the_hosts(self) -> None:
        found = self.prepared().fingerprint(Path(self.binary.path))
        self.assertEqual(list(found["hosts"]), ["server s", "client a", "client b", "client c"])
        self.assertEqual(found["cores"], len(os.sched_getaffinity(0)))
        self.assertEqual(found["tools"]["wrk"], "wrk 4.1.0 [epoll]")


class Checks(Study):
    def test_all_hosts_that_cannot_be_reached_are_named(self) -> None:
        with mock.patch.object(inspection, "faults", return_value=[("a", "has a fault")]):
            said = self.refused(self.study_on("a", "unknown", "locked"))
        self.assertEqual(said.pop(), "host a: has a fault")
        self.assertEqual(len(said), 2)
        self.assertIn("host unknown: Host key verification failed", said[0])
        self.assertIn("host locked: root@locked: Permission denied", said[1])

    def test_a_binary_for_another_processor(self) -> None:
        Path(self.binary.path).write_bytes(b"\x7fELF" + bytes(200))
        said, = self.refused(self.study_on())
        self.assertRegex(said, "^host s: the server's binary does not run there: .*Exec format error")

    def test_a_server_that_does_not_start(self) -> None:
        path = Path(self.binary.path)
        path.write_text(FAKE.format(mode="refuses", stats=json.dumps(STATS)))
        said, = self.refused(self.study_on())
        self.assertIn("host s: the server does not serve there: idlewheel-server on s ended with 1: "
                      "cannot bind", said)

    def test_a_client_that_cannot_connect_to_the_server(self) -> None:
        with mock.patch.object(machines, "urlsplit") as split:
            split.side_effect = lambda url: mock.Mock(hostname="127.0.0.1", port=1, path="/")
            with mock.patch.object(machines.RemoteServer, "ask", side_effect=self.asked):
                said = self.refused(self.study_on("a", "b"))
        self.assertEqual([line.split(":")[0] for line in said], ["host a", "host b"])
        self.assertIn("cannot connect to the server at http://127.0.0.1:", said[0])

    @staticmethod
    def asked(url: str) -> tuple[int, bytes]:
        return (200, json.dumps(STATS | {"io": "epoll"}).encode() if "/stats" in url else b"")

    def test_without_perf_there_are_no_profiles_and_the_reason_is_known(self) -> None:
        found = self.prepared(profiles=True)
        self.assertEqual((found.unprofiled, found.uncounted_calls), ("no perf here", "no perf here"))
        found.close()
        (self.folder / "no-perf").touch()
        found = self.prepared()  # where no profiles were asked for, calls are still counted
        self.assertEqual((found.unprofiled, found.uncounted_calls), ("", "perf is not installed"))


class Texts(unittest.TestCase):
    def test_an_answer(self) -> None:
        self.assertEqual(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), (200, b"{}"))
        with self.assertRaisesRegex(Failed, "no answer: .*Connection refused"):
            answer("bash: connect: Connection refused\n")
        with self.assertRaises(Failed):
            stats_in(*answer("HTTP/1.1 404 Not Found\r\n\r\n"), "http://a")

    def test_a_question_to_an_address_of_ipv6(self) -> None:
        self.assertEqual(asking("http://[fd00::1]:80/stats"), "ask fd00::1 80 /stats")
        self.assertEqual(asking("http://10.0.0.1:80"), "ask 10.0.0.1 80 /")

    def test_cpu_time_is_that_of_all_threads(self) -> None:
        stat = "7 (a b) S " + " ".join(["0"] * 10) + " 30 20 0 0"
        files = {"/proc/7/stat": stat, "/proc/7/task/7/schedstat": "1500000000 1 1\n",
                 "/proc/7/task/8/schedstat": "500000000 1 1\n", "/proc/9/task/9/schedstat": "9 9 9\n"}
        found = process(files, 7)
        self.assertEqual((found.cpu_s, found.user_ticks, found.system_ticks), (2.0, 30, 20))
        self.assertEqual(process({"/proc/7/stat": stat}, 7).cpu_s, 0.5)  # a kernel without it
        with self.assertRaisesRegex(Failed, "process 7 has ended"):
            process({}, 7)


if __name__ == "__main__":
    unittest.main()
