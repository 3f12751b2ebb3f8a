import unittest
from dataclasses import replace

from harness import inspection
from harness.inspection import CLIENT, SERVER, Clock, Host

NET = "/proc/sys/net"
SAID = {"hard": "20000\n", "missing": "", "uname": "Linux 6.1.0-18-amd64 x86_64\n", "uid": "0\n",
        "wrk": "wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\n",
        "connection": "10.0.0.1 5000 10.0.0.2 22\n", "study": "0\n",
        "model": "model name\t: A Chip @ 2 GHz\n",
        "flags": "flags\t\t: fpu pti pcid\n", "virt": "kvm\n", "perf": "perf version 6.1\n",
        "/proc/self/status": "Name:\tcat\nCpus_allowed_list:\t0-3\n",
        "/proc/meminfo": "MemTotal:       16384000 kB\n", "/etc/os-release": 'PRETTY_NAME="Debian 12"\n',
        "/proc/stat": "".join(f"cpu{n} 1 0 1 8 0 0 0 0 0 0\n" for n in ("", 0, 1, 2, 3)),
        f"{NET}/ipv4/ip_local_port_range": "32768\t60999\n", f"{NET}/core/somaxconn": "4096\n",
        "/sys/devices/system/cpu/cpu0/topology/core_cpus_list": "0,1\n",
        "/sys/devices/system/cpu/vulnerabilities/meltdown": "Mitigation: PTI\n"}
RIGHT = Clock(0.0, 0.01)


def host(name: str, role: str = CLIENT, clock: Clock = RIGHT, **said: str) -> Host:
    return Host(name, role, SAID | {"machine": f"boot\nnet:[{name}]\n"} | said, clock)


def ported(name: str, first: int, last: int) -> Host:
    return host(name, **{f"{NET}/ipv4/ip_local_port_range": f"{first}\t{last}\n"})


class Faults(unittest.TestCase):
    def faults(self, *hosts: Host, connections: int = 5000) -> list[tuple[str, str]]:
        return inspection.faults(list(hosts), {each.name: connections for each in hosts})

    def test_hosts_as_they_should_be(self) -> None:
        self.assertEqual(self.faults(host("s", SERVER), host("a"), host("b")), [])

    def test_each_fault_names_its_host_and_the_way_out(self) -> None:
        good = host("good")
        for bad, words in (
                (host("x", wrk=""), "wrk is not installed"),
                (host("x", hard="1024\n"), "1024 descriptors per process, 5000 connections need 5100"),
                (ported("x", 32768, 33000), "ports 32768-33000 are too few"),
                (host("x", missing="taskset\n"), "taskset is not installed"),
                (host("x", study="1\n"), "another study is running there"),
                (host("x", clock=Clock(3.04, 0.02)), "its clock is 3.0 s ahead of this machine's"),
                (host("x", clock=Clock(-90.0, 0.02)), "its clock is 90.0 s behind")):
            with self.subTest(words=words):
                (name, fault), = self.faults(good, bad)
                self.assertEqual(name, "x")
                self.assertIn(words, fault)
                self.assertIn("; fix: ", fault)

    def test_the_server_needs_no_wrk_and_no_ports(self) -> None:
        self.assertEqual(self.faults(replace(ported("s", 1, 2), role=SERVER)), [])
        self.assertEqual(self.faults(host("s", SERVER, wrk="")), [])

    def test_a_limit_that_is_not_there_is_enough(self) -> None:
        self.assertEqual(self.faults(host("x", hard="unlimited\n"), connections=20_000), [])

    def test_the_host_with_another_wrk_than_most_is_named(self) -> None:
        odd = host("odd", wrk="wrk 4.2.0 [epoll] Copyright\n")
        found = self.faults(host("a"), odd, host("b", wrk="wrk 4.1.0 [kqueue]\n"))
        self.assertEqual([name for name, _ in found], ["odd"])
        self.assertIn("has wrk 4.2.0 [epoll], most hosts have 4.1.0", found[0][1])

    def test_one_machine_under_two_names(self) -> None:
        found = self.faults(host("s", SERVER, machine="m"), host("a", machine="m"), host("b"))
        self.assertEqual(found, [("a", "is the same machine as s; fix: name it once")])

    def test_our_own_study_is_none_that_disturbs(self) -> None:
        here = host("x", study="1\n", machine=inspection.this_machine() + "\n")
        self.assertEqual(self.faults(here), [])

    def test_every_fault_of_every_host_is_told(self) -> None:
        found = self.faults(host("s", SERVER, hard="10"), host("a", wrk="", hard="10"), host("b", wrk=""))
        self.assertEqual([name for name, _ in found], ["s", "a", "a", "b"])


class Clocks(unittest.TestCase):
    def test_a_slow_network_does_not_make_a_clock_wrong(self) -> None:
        found = Clock.compared(100.0, 103.0, 104.0)  # read at some moment in four seconds
        self.assertAlmostEqual(found.ahead_s, 1.0)
        self.assertAlmostEqual(found.give_or_take_s, 2.0)
        self.assertEqual(found.apart_s, 0.0)

    def test_one_that_is_surely_apart(self) -> None:
        self.assertAlmostEqual(Clock.compared(100.0, 110.0, 100.2).apart_s, 9.8)


class Fingerprint(unittest.TestCase):
    def test_it_is_that_of_the_servers_host_and_names_all(self) -> None:
        found = inspection.fingerprint([host("s", SERVER), host("a"), host("b")], "g++ 12", "3.11.2")
        self.assertEqual((found["cpu"], found["cores"], found["kernel"], found["os"], found["virt"]),
                         ("A Chip @ 2 GHz", 4, "6.1.0-18-amd64", "Debian 12", "kvm"))
        self.assertEqual(found["memory_gib"], 15.6)
        self.assertEqual(found["page_table_isolation"], "on, with PCID")
        self.assertEqual(found["pinning"], {"server": 0, "client": "other hosts"})
        self.assertEqual(found["uncounted"], ["pressure"])
        self.assertEqual(found["hosts"], {
            "server s": "A Chip @ 2 GHz, 4 cores, Linux 6.1.0-18-amd64",
            **{f"client {name}": "A Chip @ 2 GHz, 4 cores, Linux 6.1.0-18-amd64, "
               "wrk debian/4.1.0-3+b2 [epoll]" for name in "ab"}})

    def test_a_host_that_says_nothing_has_one_all_the_same(self) -> None:
        found = inspection.fingerprint([Host("s", SERVER, {}, RIGHT), host("a")], None, "3.11.2")
        self.assertEqual((found["memory_gib"], found["governor"], found["os"]), (None, None, "Linux"))


if __name__ == "__main__":
    unittest.main()
