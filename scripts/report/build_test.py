"""The page, the summary and the machine-readable results, of whole and of partial folders."""

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

from report import build, page, testing

VOID = {"meta", "input", "br", "link"}


class Balanced(HTMLParser):
    """Collects what is wrong with a page: tags that do not match, addresses it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.faults += [given[k] for k in ("src", "href") if ":" in (given.get(k) or "")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


class ReportTest(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        self.folder = Path(self._dir.name) / "run"

    def build(self) -> Path:
        with testing.skipped_without_renderer():
            return build.report(self.folder)

    def report(self, **options) -> str:
        testing.write(self.folder, **options)
        path = self.build()
        self.assertEqual(path, self.folder / "report.html")
        text = path.read_text()
        self.sound(text)
        return text

    def sound(self, text: str) -> None:
        checked = Balanced()
        checked.feed(text)
        self.assertEqual((checked.faults, checked.open), ([], []))
        self.assertEqual(len(checked.ids), len(set(checked.ids)))
        words = re.sub(r"<(script|style|pre)\b.*?</\1>", "", text, flags=re.S)
        self.assertNotRegex(words, r"\b(NaN|None|null|undefined|inf)\b")
        self.assertNotIn("<!--", words)

    def test_one_file_that_may_fetch_nothing(self) -> None:
        text = self.report()
        self.assertIn("default-src 'none'", text)
        self.assertNotRegex(text, r"<(link|iframe|img|object)\b|@import|url\(")
        self.assertIn("Apache License", text)

    def test_says_that_one_round_has_no_statistics(self) -> None:
        self.assertIn("one round: no statistics", self.report())

    def test_intervals_and_verdicts_with_ten_rounds(self) -> None:
        text = self.report(rounds=10, profiles=False)
        self.assertRegex(text, r"\d\.\d\d\s× \[\d+\.\d\d, \d+\.\d\d\]")
        self.assertIn(">slower<", text)

    def test_the_data_of_the_graphs_is_whole(self) -> None:
        text = self.report(rounds=3)
        data = json.loads(re.search(r'id="flame-data">(.*?)</script>', text, re.S)[1])
        self.assertEqual(len(data["profiles"]), 10)
        self.assertEqual(len(data["parent"]), len(data["name"]))
        first = next(p for p in data["profiles"] if p["key"] == data["start"][0])
        self.assertEqual(sum(first["self"]), first["samples"])
        self.assertEqual(first["variant"], "ordered-list eager")
        self.assertEqual(first["rounds"], 3)
        self.assertTrue(first["spread"]["ids"])

    @unittest.skipUnless(shutil.which("node"), "needs node (scripts/setup installs it)")
    def test_the_viewers_arithmetic_agrees_with_the_samples(self) -> None:
        data = re.search(r'id="flame-data">(.*?)</script>', self.report(rounds=3), re.S)[1]
        script = """
            const flame = require('./flame.js');
            const data = JSON.parse(require('fs').readFileSync(0, 'utf8'));
            const tree = flame.decode(data);
            const [A, B] = data.start.map((key) =>
                flame.expand(tree, data.profiles.find((profile) => profile.key === key)));
            const largest = flame.largest(flame.byName(tree, A, B), 'self', 1)[0];
            console.log(JSON.stringify([A.total[0], A.profile.samples, A.bySpread, largest.name,
                largest.self.state, largest.self.real]));"""
        ran = subprocess.run(["node", "-e", script], input=data, capture_output=True, text=True,
                             cwd=page.HERE, timeout=60, check=True)
        total, samples, by_spread, *largest = json.loads(ran.stdout)
        self.assertEqual(total, samples)
        self.assertTrue(by_spread)
        self.assertEqual(largest, ["timers::OrderedList::rearm", "gone", True])

    def test_opens_with_the_dearest_and_the_wheel(self) -> None:
        text = self.report()
        self.assertIn('"start":["respond-ordered-list-eager-5000",'
                      '"respond-hierarchical-wheel-eager-5000"]', text)

    def test_the_studys_own_table_names_the_rearm(self) -> None:
        text = self.report()
        block = re.search(r'data-profile="respond-ordered-list-eager-400">(.*?)</div>', text, re.S)
        self.assertIn("timers::OrderedList::rearm", block[1])
        self.assertIn("34.4 %", text)

    def test_profiles_stand_beside_their_check_with_dwarf(self) -> None:
        text = self.report(dwarf=True)
        self.assertIn("Frame pointers against DWARF", text)
        self.assertRegex(text, r"<th[^>]*>timer, DWARF</th>")
        self.assertNotIn("against DWARF", self.report())

    def test_without_profiles_there_is_no_empty_box(self) -> None:
        text = self.report(profiles=False, syscalls=False)
        for anchor in ("flame", "ledger", "ticks", "licences"):
            self.assertNotIn(f'id="{anchor}"', text)
        self.assertNotIn("<script", text)
        self.assertNotIn("<tbody></tbody>", text)

    def test_profiles_alone(self) -> None:
        testing.write(self.folder)
        path = self.folder / "samples.jsonl"
        path.write_text("".join(line + "\n" for line in path.read_text().splitlines()
                                if '"kind": "profile"' in line))
        text = self.build().read_text()
        self.sound(text)
        self.assertIn("No cell was timed", text)
        self.assertNotIn('id="cost"', text)
        self.assertIn('id="flame"', text)

    def test_one_backend_one_level(self) -> None:
        text = self.report(backends=["ordered-list"], connections=[50], rearm=["eager"])
        self.assertNotIn('class="panels"', text)
        self.assertIn('"respond-ordered-list-eager-50"', text)

    def test_scenarios_without_a_control(self) -> None:
        text = self.report(backends=["binary-heap", "quad-heap"], scenario="increasing-timeout")
        self.assertIn("expired request", text)

    def test_hostile_names_stay_text(self) -> None:
        testing.write(self.folder)
        folded = next((self.folder / "profiles" / "rounds").iterdir())
        folded.write_text(folded.read_text() + "main;</script><b>operator<< 500\n")
        text = self.build().read_text()
        self.sound(text)
        self.assertNotIn("</script><b>", text)

    def test_an_invalid_cell_is_shown_and_marked(self) -> None:
        testing.write(self.folder)
        path = self.folder / "samples.jsonl"
        path.write_text(path.read_text().replace('"valid": true, "flags": []',
                                                 '"valid": false, "flags": ["steal 3 %"]', 1))
        text = self.build().read_text()
        self.sound(text)
        self.assertIn("steal 3 %", text)
        self.assertIn("0 of 1", text)

    def changed(self, change, **options) -> tuple[str, str]:
        """The page and the summary of a folder whose samples were changed."""
        testing.write(self.folder, **options)
        testing.change_samples(self.folder, change)
        text = self.build().read_text()
        self.sound(text)
        return text, (self.folder / "summary.md").read_text()

    def test_a_cell_that_could_not_be_measured_says_why(self) -> None:
        def change(line: dict) -> None:
            if line["backend"] == "none" or line["kind"] == "profile" and line["rearm"] == "lazy":
                testing.fail(line, "server ended with 1")

        text, _ = self.changed(change)
        self.assertIn(">failed<", text)
        self.assertIn("server ended with 1", text)

    def test_a_perf_that_was_killed_is_said(self) -> None:
        for kind, words in (("profile", "profile"), ("dwarf", "profile, DWARF"),
                            ("syscalls", "system calls")):
            def change(line: dict) -> None:
                if line["kind"] == kind and line["backend"] == "ordered-list":
                    testing.fail(line, f"perf ended with -9 ({kind})")

            with self.subTest(kind=kind):
                text, summary = self.changed(change, dwarf=True, connections=[400])
                self.assertRegex(text, rf">{words}</th><td>respond · 400 · ordered-list eager</td>"
                                 rf"<td>0 of 1</td><td[^>]*>perf ended with -9 \({kind}\)<")
                self.assertIn(f"| {words} | respond · 400 · ordered-list eager | 0 of 1 | perf ended "
                              f"with -9 ({kind}) |", summary)

    def test_flags_of_profiles_and_counts_are_said_and_starred(self) -> None:
        def change(line: dict) -> None:
            if line["kind"] != "load":
                line["flags"] = ["few_stacks" if line["kind"] == "profile" else "steal"]

        text, summary = self.changed(change, connections=[400], dwarf=True)
        self.assertIn('"label":"respond · 400 · ordered-list eager *"', text)
        for said in (text, summary):
            self.assertIn("A star: the profile failed a gate", said)
            self.assertIn("(the profile is flagged)", said)
            self.assertIn("few_stacks", said)
            self.assertRegex(said, r"3\.10 \*")  # system calls
            self.assertNotIn("passed its gates", said)
        self.assertRegex(summary, r"\| respond · 400 · ordered-list eager \* \| [\d.]+ \|")
        for line in re.findall(r"^\| ordered list .*", summary, re.MULTILINE):
            self.assertIn("*", line)

    def test_one_flagged_round_of_a_profile_is_left_out_and_said(self) -> None:
        def change(line: dict) -> None:
            if line["kind"] == "profile" and line["round"] == 2:
                line["flags"] = ["foreign_load"]

        text, summary = self.changed(change, connections=[400], rounds=3)
        for said in (text, summary):
            self.assertIn("1 of 3 rounds left out (foreign_load)", said)
        data = json.loads(re.search(r'id="flame-data">(.*?)</script>', text, re.S)[1])
        self.assertEqual({p["rounds"] for p in data["profiles"]}, {2})

    def test_all_profiles_failed_and_nothing_was_timed(self) -> None:
        text, summary = self.changed(lambda line: testing.fail(line, f"no names: {line['kind']}"),
                                     syscalls=False, connections=[400])
        for said in (text, summary):
            self.assertIn("no names: profile", said)
            self.assertIn("no names: load", said)

    def test_nothing_failed_is_said_of_all_kinds(self) -> None:
        self.assertIn("Every timing cell and every profile and count of system calls passed",
                      self.report())
        self.assertIn("Every timing cell passed", self.report(profiles=False, syscalls=False))

    def test_counters_that_the_machine_lacks_are_named(self) -> None:
        text = self.report(env=testing.ENV | {"uncounted": ["steal", "pressure"]})
        for said in (text, (self.folder / "summary.md").read_text()):
            self.assertIn("This machine does not count: steal, pressure.", said)
        self.assertNotIn("does not count", self.report())

    def test_the_hosts_that_took_part_are_named(self) -> None:
        hosts = {"server s": "A Chip, Linux 6.1", "client a": "Another, Linux 6.2, wrk 4.1.0"}
        part = {"connections": 4, "requests": 1000, "errors": 0, "p99_us": 250.0}
        text, summary = self.changed(lambda line: line.update(clients={"a": part}),
                                     env=testing.ENV | {"hosts": hosts})
        for said in (text, summary):
            for words in ("load from 1 other host", "client a", "Another, Linux 6.2, wrk 4.1.0",
                          "client host"):
                self.assertIn(words, said)
        self.assertRegex(summary, r"\| a \| 10 \| 10.000 \| 0 \| 250")
        self.assertNotIn("Client hosts", self.report())

    def test_an_unfinished_run_says_so(self) -> None:
        testing.write(self.folder)
        path = self.folder / "manifest.json"
        path.write_text(path.read_text().replace('"finished": true', '"finished": false'))
        self.assertIn("was not finished", self.build().read_text())

    def test_results_for_machines(self) -> None:
        self.report(rounds=3)
        found = json.loads((self.folder / "results.json").read_text())
        self.assertEqual(list(found), ["schema", "manifest", "verdict", "rows", "profiles",
                                       "comparisons", "transports"])
        self.assertEqual((len(found["rows"]), len(found["profiles"])), (10, 10))
        dear = max(found["comparisons"], key=lambda c: c["ratio"])
        self.assertEqual(dear["cell"]["backend"], "ordered-list")
        top = found["profiles"][0]["ticks"][0]
        self.assertTrue(0 < top["share"] <= 1 and top["name"])

    def test_the_summary_is_markdown_tables(self) -> None:
        self.report()
        text = (self.folder / "summary.md").read_text()
        self.assertIn("| backend | S1, 400 | S1, 5\u202f000 |", text)
        lines = [line for line in text.splitlines() if line.startswith("|")]
        self.assertTrue(all(line.endswith("|") for line in lines))
        self.assertNotRegex(text, r"\b(NaN|None|null|inf)\b|<")

    def test_folded_files_are_linked_and_there(self) -> None:
        for name in re.findall(r'href="(profiles/[^"]+)"', self.report()):
            self.assertTrue((self.folder / name).is_file(), name)

    def test_a_missing_renderer_names_the_fix(self) -> None:
        testing.write(self.folder)
        with mock.patch.object(page, "MODULES", self.folder / "nowhere"):
            with self.assertRaisesRegex(build.MissingTool, "scripts/setup") as caught:
                build.report(self.folder)
        self.assertEqual(caught.exception.code, 3)
        self.assertFalse((self.folder / "report.html").exists())

    def test_an_empty_folder_is_refused(self) -> None:
        self.folder.mkdir()
        with self.assertRaises(build.Unreadable):
            build.report(self.folder)
