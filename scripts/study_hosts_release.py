"""A study on several machines: network namespaces stand for them, with an sshd in each.

What is measured on one machine under several names means nothing; what is counted does.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from harness import testing_hosts
from harness.testing_hosts import Hosts
from results import journal
from results.sample import Sample

SCRIPTS = pathlib.Path(__file__).resolve().parent
SERVER = os.environ["IDLEWHEEL_SERVER"]
CLIENTS = ("one", "two", "three")
CONNECTIONS = 100
LIMIT_S = 60
os.environ["IDLEWHEEL_STUDY_LOCK"] = f"idlewheel-study-test-{os.getpid()}"


def setUpModule():
    if reason := testing_hosts.refusal():
        raise unittest.SkipTest(reason)


def eventually(true) -> bool:
    limit = time.monotonic() + LIMIT_S
    while not true() and time.monotonic() < limit:
        time.sleep(0.05)
    return true()


class OnHosts(unittest.TestCase):
    def setUp(self) -> None:
        self.hosts = Hosts()
        self.addCleanup(self.hosts.close)
        self.out = self.hosts.folder / "out"
        # A form for each client: an address, one with a user, and one of IPv6 with a port.
        self.names = {"one": self.hosts.address("one"), "two": f"root@{self.hosts.address('two')}",
                      "three": f"root@[{self.hosts.address6('three')}]:22"}

    def start(self, *more: str, clients: tuple[str, ...] = CLIENTS, server: str = ""
              ) -> subprocess.Popen:
        listed = self.hosts.folder / "hosts.txt"
        lines = [f"{self.names.get(each, each)}  # {each}\n" for each in clients]
        listed.write_text("# clients\n\n" + "".join(lines))
        # One that is killed leaves its temporary files.
        return self.hosts.start(
            "env", f"TMPDIR={self.hosts.folder}", str(SCRIPTS / "study"), "run",
            "--server", server or self.hosts.address("server"),
            "--clients", str(listed), *self.hosts.ssh_flags(), "--binary", SERVER,
            "--preset", "smoke", "--backends", "hierarchical-wheel", "--rearm", "lazy",
            "--scenario", "respond", "--connections", str(CONNECTIONS), "--no-report",
            "-o", str(self.out), *more)

    def ended(self, study: subprocess.Popen) -> tuple[int, str]:
        try:
            _, error = study.communicate(timeout=LIMIT_S)
        finally:
            study.kill()
        return study.returncode, error

    def run_study(self, *more: str, **options: object) -> tuple[int, str]:
        return self.ended(self.start(*more, **options))

    def samples(self) -> dict[str, Sample]:
        return {sample.kind: sample for sample in journal.read(self.out)}

    def assert_nothing_is_left(self, *names: str) -> None:
        for name in names or testing_hosts.NAMES:
            self.assertTrue(eventually(lambda name=name: not self.hosts.running(name)),
                            self.hosts.running(name))
            self.assertTrue(eventually(lambda name=name: not self.hosts.left(name)),
                            self.hosts.left(name))

    def await_load(self) -> None:
        """Until wrk runs on every client."""
        self.assertTrue(eventually(lambda: all(
            any("wrk -t" in text for text in self.hosts.running(name)) for name in CLIENTS)))


class Measured(OnHosts):
    def test_the_clients_counts_add_up_to_the_servers_and_nothing_is_left(self) -> None:
        profiles = bool(shutil.which("perf"))
        code, error = self.run_study(*([] if profiles else ["--no-profile"]))
        self.assertEqual(code, 0, error)
        samples = self.samples()
        load = samples["load"]
        self.assertTrue(load.valid, load.error)
        self.assertEqual(set(load.clients), set(self.names.values()))
        self.assertEqual(sorted(part["connections"] for part in load.clients.values()), [33, 33, 34])
        self.assertEqual((load.connections_open, load.connections_asked), (CONNECTIONS, CONNECTIONS))
        added = sum(part["requests"] for part in load.clients.values())
        self.assertEqual(load.wrk.requests, added)
        self.assertLess(abs(added - load.totals.responses), 0.02 * load.totals.responses)
        self.assertGreater(load.totals.responses, 1000)
        self.assertNotIn("wrong_counts", load.flags)
        self.assertNotIn("cpu_clocks_differ", load.flags)
        latency = load.wrk.latency_us
        self.assertLess(0, latency.p50)
        self.assertLessEqual(latency.p50, latency.p99)
        self.assertLessEqual(latency.p99, 1.01 * latency.max)
        manifest = json.loads((self.out / "manifest.json").read_text())
        self.assertEqual(len(manifest["env"]["hosts"]), 4)
        self.assertIn("wrk", manifest["env"]["hosts"][f"client {self.names['three']}"])
        if profiles and "profile" in samples:  # perf may be forbidden; then a note says so
            self.assertGreater(samples["profile"].samples, 0)
        else:
            self.assertIn("note: no profiles", error + "note: no profiles" * (not profiles))
        self.assert_nothing_is_left()


    def test_over_ipv6_and_on_a_port_of_its_own(self) -> None:
        server = f"root@[{self.hosts.address6('server')}]:22"
        code, error = self.run_study("--no-profile", "--server-port", "4242", server=server)
        self.assertEqual(code, 0, error)
        load = self.samples()["load"]
        self.assertTrue(load.valid, load.error)
        self.assertNotIn("wrong_counts", load.flags)
        command = json.loads((self.out / "manifest.json").read_text())["commands"]["server"]
        self.assertIn(f"--address {self.hosts.address6('server')} ", command)


class Broken(OnHosts):
    def test_a_lost_host_marks_the_cell_and_everything_on_it_ends(self) -> None:
        study = self.start("--no-profile", "--duration", "30",
                           "--ssh-option", "ServerAliveInterval=1")
        self.await_load()
        self.hosts.unplug("two")
        code, error = self.ended(study)
        self.assertEqual(code, 4, error)
        self.assertIn(f"host {self.names['two']} was lost", error.splitlines()[-1])
        sample = self.samples()["load"]
        self.assertFalse(sample.valid)
        self.assertEqual(sample.flags, ["failed", "lost_host"])
        self.assertIsNone(sample.requests)
        self.assert_nothing_is_left()  # on the host that hears nothing any more, too

    def test_an_interrupt_ends_everything_everywhere(self) -> None:
        study = self.start("--no-profile", "--duration", "30")
        self.await_load()
        # The terminal's Ctrl-C reaches scripts/study; nsenter has become it.
        study.send_signal(signal.SIGINT)
        code, error = self.ended(study)
        self.assertEqual(code, 130, error)
        self.assertIn("continue with", error)
        self.assert_nothing_is_left()

    def test_a_study_that_is_killed_leaves_nothing_running(self) -> None:
        study = self.start("--no-profile", "--duration", "30")
        self.await_load()
        study.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            study.communicate(timeout=LIMIT_S)
        self.assert_nothing_is_left()


class Refused(OnHosts):
    def faults(self, code: int, error: str) -> list[str]:
        self.assertEqual(code, 3, error)
        self.assertFalse(self.out.exists())
        *lines, last = error.splitlines()
        self.assertIn("cannot take part", last)
        self.assert_nothing_is_left()
        return lines

    def test_hosts_that_ssh_cannot_use(self) -> None:
        """A port where nobody listens, a key that is not known, and a name that is none."""
        stranger = self.hosts.folder / "stranger"
        self.hosts.inside("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger))
        known = self.hosts.folder / "known_hosts"
        wrong = stranger.with_suffix(".pub").read_text()
        known.write_text(f"{self.hosts.address('two')} {wrong}" + known.read_text().replace(
            f"{testing_hosts.NET4}*", f"{testing_hosts.NET4}*,!{self.hosts.address('two')}"))
        closed = f"{self.hosts.address('one')}:23"
        clients = (closed, "two", "no.such.invalid")
        lines = self.faults(*self.run_study("--no-profile", clients=clients))
        self.assertEqual(len(lines), 3, lines)
        wanted = (f"host {closed}: .*Connection refused",
                  f"host {self.names['two']}: .*key.*fix: ssh to it once by hand",
                  "host no.such.invalid: .*resolve")
        for line, words in zip(lines, wanted, strict=True):
            self.assertRegex(line, words)

    def test_firewalls_and_limits(self) -> None:
        server = self.hosts.address("server")
        self.hosts.on("three", "ip", "route", "add", "blackhole", f"{server}/32")
        lines = self.faults(*self.run_study("--no-profile"))
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], rf"host root@\[.*\]:22: cannot connect to the server at "
                         rf"http://{server}:\d+; fix: .*--server-port")
        self.hosts.limit_files("two", 120)  # which not even root may raise again everywhere
        lines = self.faults(*self.run_study("--no-profile"))
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(f"host {self.names['two']}: 120 descriptors per process, 34 connections need "
                      "134", lines[0])

    def test_one_machine_under_two_names(self) -> None:
        again = self.hosts.address6("one")
        lines = self.faults(*self.run_study("--no-profile", clients=("one", again)))
        self.assertEqual(lines, [f"host {again}: is the same machine as {self.names['one']}; fix: "
                                 "name it once"])


if __name__ == "__main__":
    unittest.main()
