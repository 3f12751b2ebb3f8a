import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from harness import plan, resume
from results import manifest as manifests
from results.errors import Stop

SETTINGS = plan.settings("smoke", plan.STUDY_BACKENDS, {})
ENTRY = resume.plan_entry(SETTINGS, plan.measurements(SETTINGS))


def manifest(sha256: str = "aa", finished: bool = False, entry: dict = ENTRY) -> dict:
    return {"schema": manifests.SCHEMA, "plan": entry, "binary": {"sha256": sha256},
            "argv": ["run", "--preset", "smoke"], "env": {}, "command": "scripts/study run --preset smoke", "finished": finished}


class Scratch(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.results = Path(scratch.name)


class Manifest(Scratch):
    def test_a_foreign_manifest_is_refused_with_a_way_out(self) -> None:
        (self.results / manifests.MANIFEST).write_text("{")
        with self.assertRaisesRegex(Stop, "choose another folder with -o") as caught:
            resume.read_manifest(self.results)
        self.assertEqual(caught.exception.code, 2)

    def test_settings_survive_the_manifest(self) -> None:
        manifests.write(self.results, manifest())
        self.assertEqual(resume.settings_of(resume.read_manifest(self.results)), SETTINGS)


class Resume(Scratch):
    def test_the_same_plan_and_binary_continue(self) -> None:
        resume.refuse_to_mix(self.results, manifest(), ENTRY, "aa")

    def test_profiles_may_be_added(self) -> None:
        fewer = ENTRY | {"cells": ENTRY["cells"][:3]}
        resume.refuse_to_mix(self.results, manifest(entry=fewer), ENTRY, "aa")

    def test_another_binary_or_plan_is_refused_with_what_differs(self) -> None:
        other = resume.plan_entry(replace(SETTINGS, seed=2), [])
        for entry, sha256, word in ((ENTRY, "bb", "server binary"), (other, "aa", "seed")):
            with self.assertRaises(Stop) as caught:
                resume.refuse_to_mix(self.results, manifest(), entry, sha256)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(word, str(caught.exception))
            self.assertIn("-o", str(caught.exception))

    def test_only_the_newest_unfinished_folder_of_this_plan_is_continued(self) -> None:
        self.assertIsNone(resume.unfinished(self.results, ENTRY, "aa"))
        manifests.write(self.results / "a", manifest())
        self.assertEqual(resume.unfinished(self.results, ENTRY, "aa"), self.results / "a")
        self.assertIsNone(resume.unfinished(self.results, ENTRY, "bb"))
        manifests.write(self.results / "a", manifest(finished=True))
        self.assertIsNone(resume.unfinished(self.results, ENTRY, "aa"))

    def test_a_folder_of_another_schema_is_none_of_ours(self) -> None:
        manifests.write(self.results / "a", manifest() | {"schema": "idlewheel/0"})
        self.assertIsNone(resume.unfinished(self.results, ENTRY, "aa"))


if __name__ == "__main__":
    unittest.main()
