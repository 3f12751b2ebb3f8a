import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from harness import Stop, journal, plan

SETTINGS = plan.settings("smoke", plan.STUDY_BACKENDS, {})
ENTRY = journal.plan_entry(SETTINGS, plan.cells(SETTINGS))


def manifest(sha256: str = "aa", finished: bool = False, entry: dict = ENTRY) -> dict:
    return {"schema": journal.SCHEMA, "plan": entry, "binary": {"sha256": sha256},
            "command": "scripts/study run --preset smoke", "finished": finished}


class Folder(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "one"
        journal.write_manifest(self.folder, manifest())

    def test_samples_come_back_as_written(self) -> None:
        for number in range(3):
            journal.append(self.folder, {"id": str(number), "valid": True})
        self.assertEqual([s["id"] for s in journal.read_samples(self.folder)], ["0", "1", "2"])

    def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(self) -> None:
        journal.append(self.folder, {"id": "0", "valid": True})
        with open(self.folder / journal.SAMPLES, "a") as out:
            out.write('{"id": "1", "val')
        self.assertEqual(len(journal.read_samples(self.folder)), 1)
        journal.append(self.folder, {"id": "1", "valid": True})
        self.assertEqual([s["id"] for s in journal.read_samples(self.folder)], ["0", "1"])

    def test_failed_cells_are_due_again(self) -> None:
        journal.append(self.folder, {"id": "0", "valid": True})
        journal.append(self.folder, {"id": "1", "valid": False})
        self.assertEqual([s["id"] for s in journal.drop_failed(self.folder)], ["0"])
        self.assertEqual(len(journal.read_samples(self.folder)), 1)

    def test_not_a_number_is_never_written(self) -> None:
        with self.assertRaises(ValueError):
            journal.append(self.folder, {"id": "0", "rps": float("nan")})

    def test_a_foreign_manifest_is_refused(self) -> None:
        (self.folder / journal.MANIFEST).write_text("{")
        with self.assertRaises(Stop) as caught:
            journal.read_manifest(self.folder)
        self.assertEqual(caught.exception.code, 2)

    def test_settings_survive_the_manifest(self) -> None:
        read = json.loads(json.dumps(journal.read_manifest(self.folder)))
        self.assertEqual(journal.settings_of(read), SETTINGS)


class Resume(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.results = Path(scratch.name)

    def test_the_same_plan_and_binary_continue(self) -> None:
        journal.refuse_to_mix(self.results, manifest(), ENTRY, "aa")

    def test_profiles_may_be_added(self) -> None:
        fewer = ENTRY | {"cells": ENTRY["cells"][:3]}
        journal.refuse_to_mix(self.results, manifest(entry=fewer), ENTRY, "aa")

    def test_another_binary_or_plan_is_refused_with_what_differs(self) -> None:
        other = journal.plan_entry(replace(SETTINGS, seed=2), [])
        for entry, sha256, word in ((ENTRY, "bb", "server binary"), (other, "aa", "seed")):
            with self.assertRaises(Stop) as caught:
                journal.refuse_to_mix(self.results, manifest(), entry, sha256)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(word, str(caught.exception))
            self.assertIn("-o", str(caught.exception))

    def test_only_the_newest_unfinished_folder_of_this_plan_is_continued(self) -> None:
        self.assertIsNone(journal.unfinished(self.results, ENTRY, "aa"))
        journal.write_manifest(self.results / "a", manifest())
        self.assertEqual(journal.unfinished(self.results, ENTRY, "aa"), self.results / "a")
        self.assertIsNone(journal.unfinished(self.results, ENTRY, "bb"))
        journal.write_manifest(self.results / "a", manifest(finished=True))
        self.assertIsNone(journal.unfinished(self.results, ENTRY, "aa"))

    def test_a_folder_of_another_schema_is_none_of_ours(self) -> None:
        journal.write_manifest(self.results / "a", manifest() | {"schema": "idlewheel/0"})
        self.assertIsNone(journal.unfinished(self.results, ENTRY, "aa"))


if __name__ == "__main__":
    unittest.main()
