import unittest
from dataclasses import replace

from harness import environment
from harness.environment import Facts, checks

GOOD = Facts(python=(3, 11), cores=[0, 1], nofile=20_000, somaxconn=4096,
             port_range=(32768, 60999), time_wait=0, tw_reuse=2, perf_paranoid=2, kptr_restrict=0,
             root=True, tools={name: f"/usr/bin/{name}" for name in environment.TOOLS},
             perf_records="", tracepoints="", d3=True)


def failed(facts: Facts, connections: int = 10_000, **kinds: bool) -> dict[str, bool]:
    return {c.name: c.must for c in checks(facts, connections, **kinds) if not c.ok}


def without(tool: str) -> Facts:
    return replace(GOOD, tools=GOOD.tools | {tool: None})


class Checks(unittest.TestCase):
    def test_a_good_machine_passes(self) -> None:
        self.assertEqual(failed(GOOD), {})

    def test_musts(self) -> None:
        cases = {
            "python": replace(GOOD, python=(3, 9)),
            "cores": replace(GOOD, cores=[0]),
            "descriptors": replace(GOOD, nofile=10_099),
            "port range": replace(GOOD, port_range=(50_000, 60_098)),
            "wrk": without("wrk"),
            "perf": without("perf"),
            "perf record": replace(GOOD, perf_records="Permission denied"),
            "perf tracepoints": replace(GOOD, tracepoints="Permission denied"),
            "report's charts": replace(GOOD, d3=False),
        }
        for name, facts in cases.items():
            self.assertEqual(failed(facts), {name: True})

    def test_notes(self) -> None:
        cases = {
            "somaxconn": replace(GOOD, somaxconn=128),
            "kptr_restrict": replace(GOOD, kptr_restrict=2),
            "TIME_WAIT": replace(GOOD, tw_reuse=0, time_wait=20_000),
            "node": without("node"),
        }
        for name, facts in cases.items():
            self.assertEqual(failed(facts), {name: False})

    def test_the_limits_are_exact(self) -> None:
        self.assertEqual(failed(replace(GOOD, nofile=10_100)), {})
        self.assertEqual(failed(replace(GOOD, nofile=10_100), 10_001), {"descriptors": True})
        self.assertEqual(failed(replace(GOOD, port_range=(50_000, 60_099))), {})

    def test_perf_is_no_must_without_profiles_nor_d3_without_report(self) -> None:
        self.assertEqual(failed(without("perf"), profile=False), {"perf": False})
        self.assertEqual(failed(replace(GOOD, d3=False), report=False), {"report's charts": False})

    def test_every_failure_is_one_line_that_says_the_fix(self) -> None:
        bad = replace(GOOD, python=(3, 9), cores=[0], nofile=64, somaxconn=1, port_range=(1, 2),
                      tools=dict.fromkeys(environment.TOOLS), perf_records="no", tracepoints="no",
                      d3=False, kptr_restrict=2, tw_reuse=0, time_wait=9)
        for check in checks(bad, 400):
            if not check.ok:
                self.assertRegex(check.line(), r"^[^\n]+; fix: [^\n]+$")
                self.assertNotIn("\n", check.line())

    def test_the_fix_for_descriptors_names_the_number(self) -> None:
        line = environment.check_files(1024, 5000).line()
        self.assertIn("5100", line)
        self.assertIn("1024", line)


class Cores(unittest.TestCase):
    def test_server_and_client_differ(self) -> None:
        server, client = environment.cores([0, 1])
        self.assertNotEqual(server, client)

    def test_one_core_serves_both_when_there_is_no_other(self) -> None:
        self.assertEqual(environment.cores([3]), (3, 3))


if __name__ == "__main__":
    unittest.main()
