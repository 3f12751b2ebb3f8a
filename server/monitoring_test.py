"""The dashboard and the alert rules of monitoring/ ask for what a running server has."""

import itertools
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

from testing import GET, Server, exchange, needs

HERE = pathlib.Path(__file__).resolve().parent / "monitoring"
# What Prometheus adds by itself, and what the query has of other places.
PROMETHEUS_LABELS = {"job", "instance", "le"}
PROMETHEUS_METRICS = {"up"}


def rules() -> list[str]:
    return re.findall(r"(?m)^ +expr: (.+)$", (HERE / "alerts.yaml").read_text())


def panels() -> list[dict]:
    return json.loads((HERE / "dashboard.json").read_text())["panels"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def variables() -> list[str]:
    board = json.loads((HERE / "dashboard.json").read_text())
    return [variable["query"]["query"] for variable in board["templating"]["list"]
            if variable["type"] == "query"]


def without_variables(query: str) -> str:
    """As Prometheus gets it from Grafana."""
    return re.sub(r"\$\w+", "x", query.replace("$__rate_interval", "5m"))


def promtool(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=HERE)


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """The series of a server, as a name and its labels with their values."""
        with Server("--access-log=/dev/null") as server:
            exchange(server, GET)
            _, text = server.admin("/metrics")
        cls.series = [(match[1], dict(re.findall(r'(\w+)="([^"]*)"', match[2])))
                      for match in re.finditer(r"(?m)^(\w+)\{(.*)\} \S+$", text)]

    def assert_found(self, query: str):
        """Each selector of the query is one of a series, and each label by which it groups, too."""
        selectors = re.findall(r"\b(idlewheel_\w+|up)\b(?:\{([^}]*)\})?", query)
        self.assertTrue(selectors, query)
        for name, matchers in selectors:
            if name in PROMETHEUS_METRICS:
                continue
            found = [labels for known, labels in self.series if known == name]
            self.assertTrue(found, f"the server has no {name}")
            for label, operator, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers):
                if label not in PROMETHEUS_LABELS:
                    self.assertEqual(operator, "=", "a test for other matchers is missing")
                    found = [labels for labels in found if labels.get(label) == value]
            self.assertTrue(found, f"the server has no {name} with {matchers}")
            for by in re.findall(r"by \(([^)]*)\)", query):
                for label in set(re.findall(r"\w+", by)) - PROMETHEUS_LABELS:
                    self.assertTrue(all(label in labels for labels in found), f"{name}: {label}")

    def test_every_expression_is_about_what_the_server_has(self):
        self.assertGreaterEqual(len(rules()), 8)
        self.assertGreaterEqual(len(queries()), 12)
        for query in itertools.chain(rules(), queries(), variables()):
            with self.subTest(query):
                self.assert_found(query)

    def test_one_about_something_else_would_be_noticed(self):
        for query in ("rate(idlewheel_request_total[5m])", "vector(1)",
                      'idlewheel_connections_closed_total{reason="boredom"}',
                      "sum by (reason) (idlewheel_connections)"):
            with self.subTest(query), self.assertRaises(AssertionError):
                self.assert_found(query)

    def test_the_dashboard_shows_every_metric(self):
        shown = set(re.findall(r"idlewheel_\w+", " ".join(queries())))
        self.assertEqual({re.sub("_(bucket|sum|count)$", "", name) for name, _ in self.series
                          if name.startswith("idlewheel_")},
                         {name.removesuffix("_bucket") for name in shown})

    def test_no_alert_spans_lines_or_was_overlooked(self):
        text = (HERE / "alerts.yaml").read_text()
        self.assertEqual(text.count("alert:"), len(rules()))
        self.assertFalse([rule for rule in rules() if rule in ("|", ">", "|-", ">-")])

    def test_panels_are_whole_and_do_not_overlap(self):
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
        self.assertEqual(len(set(places)), len(places))
        self.assertEqual(len({panel["id"] for panel in panels()}), len(places))
        for panel in panels():
            self.assertTrue(panel["title"] and panel["description"], panel["id"])

    @needs("promtool")
    def test_promtool_accepts_the_alerts(self):
        checked = promtool("check", "rules", "alerts.yaml")
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.assertIn(f"{len(rules())} rules found", checked.stdout)

    @needs("promtool")
    def test_made_up_figures_raise_the_alerts_that_they_should(self):
        tested = promtool("test", "rules", "alerts_test.yaml")
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)
        names = re.findall(r"alert: (\w+)", (HERE / "alerts.yaml").read_text())
        text = (HERE / "alerts_test.yaml").read_text()
        self.assertFalse([name for name in names if f'"{name}"' not in text])

    @needs("promtool")
    def test_promtool_accepts_the_queries_of_the_dashboard(self):
        """As recording rules, because it checks nothing else. YAML takes JSON."""
        made = [{"record": f"query:{number}", "expr": without_variables(query)}
                for number, query in enumerate(queries())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": made}]}, file)
            file.flush()
            checked = promtool("check", "rules", file.name)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


if __name__ == "__main__":
    unittest.main()
