import shutil
import unittest

from harness import side_by_side
from harness.measured_server import get
from results.errors import Failed

CPUS = [0, 1]
NGINX = shutil.which("nginx") or shutil.which("nginx", path=f"{side_by_side.TOOLS}:/usr/sbin")


def sample(name: str, connections: int, us: float) -> dict:
    return {"name": name, "connections": connections, "us": us, "user_us": us / 4}


class Table(unittest.TestCase):
    SAMPLES = [sample("ours", 400, 6.0), sample("floor", 400, 5.0), sample("floor", 400, 4.0),
               sample("floor", 400, 30.0), sample("ours", 400, 7.0), sample("ours", 400, 5.5),
               sample("floor", 5000, 8.0), sample("ours", 5000, 8.0)]

    def test_medians_and_ratios_to_the_first_name(self) -> None:
        lines = side_by_side.table(["floor", "ours"], self.SAMPLES, []).splitlines()
        self.assertEqual(lines[2], "| floor | 5.00 (1.00x) | 8.00 (1.00x) | 1.25 | 2.00 |")
        self.assertEqual(lines[3], "| ours | 6.00 (1.20x) | 8.00 (1.00x) | 1.50 | 2.00 |")

    def test_memory_where_it_was_weighed(self) -> None:
        memory = [{"name": name, "bytes": 588.4, "idle_cpu": 0.0} for name in ("floor", "ours")]
        lines = side_by_side.table(["floor", "ours"], self.SAMPLES, memory).splitlines()
        self.assertTrue(lines[0].endswith("| bytes per idle connection | CPU while idle |"),
                        lines[0])
        self.assertTrue(lines[3].endswith("| 588 | 0.00% |"), lines[3])


class Started(unittest.TestCase):
    def test_a_server_that_ends_at_once_says_why(self) -> None:
        entry = side_by_side.Contender("broken", lambda _: ["sh", "-c", "echo no such luck; exit 1"])
        with self.assertRaisesRegex(Failed, "broken was not ready: no such luck"):
            with side_by_side.started(entry, CPUS):
                pass

    @unittest.skipUnless(shutil.which("node"), "needs node (scripts/setup installs it)")
    def test_node_answers(self) -> None:
        node = next(entry for entry in side_by_side.contenders() if entry.name == "Node.js")
        with side_by_side.started(node, CPUS) as (child, url):
            self.assertEqual(get(url + "/"), (200, b""))
        self.assertFalse(child.running)

    @unittest.skipUnless(NGINX, "needs nginx (scripts/setup installs it)")
    def test_nginx_answers_and_leaves_nothing_running(self) -> None:
        nginx = next(entry for entry in side_by_side.contenders() if entry.name == "nginx")
        with side_by_side.started(nginx, CPUS) as (child, url):
            self.assertEqual(get(url + "/"), (200, b""))
        self.assertFalse(child.running)


if __name__ == "__main__":
    unittest.main()
