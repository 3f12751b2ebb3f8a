import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from harness import plan, resume
from harness.resume import Study
from results import machine, manifest as manifests
from results.errors import Stop

SETTINGS = plan.settings("smoke", plan.STUDY_BACKENDS, {})
ENTRY = resume.plan_entry(SETTINGS, plan.measurements(SETTINGS))


ENV = {"cpu": "Example", "cores": 2, "memory_gib": 7.8, "virt": "kvm", "kernel": "6.1.0", "os": "x",
       "mitigations": "meltdown: PTI", "aslr": 2, "pinning": {"server": 0, "client": 1},
       "siblings": False, "governor": None, "quota": "none", "nofile": 20_000}
STUDY = Study(ENTRY, "aa", ENV)


def manifest(sha256: str = "aa", finished: bool = False, entry: dict = ENTRY,
             env: dict = ENV) -> dict:
    return {"schema": manifests.SCHEMA, "plan": entry, "binary": {"sha256": sha256},
            "argv": ["run", "--preset", "smoke"], "env": env, "command": "scripts/study run --preset smoke", "finished": finished}


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


    def test_a_plan_without_a_transport_is_of_epoll(self) -> None:
        old = {name: value for name, value in ENTRY.items() if name != "io"}
        manifests.write(self.results, manifest(entry=old))
        there = resume.read_manifest(self.results)
        self.assertEqual(resume.settings_of(there), SETTINGS)
        resume.refuse_to_mix(self.results, there, STUDY)
        both = resume.plan_entry(replace(SETTINGS, io=["epoll", "io_uring"]), [])
        with self.assertRaisesRegex(Stop, "different io"):
            resume.refuse_to_mix(self.results, there, Study(both, "aa", ENV))


class Resume(Scratch):
    def test_the_same_plan_and_binary_continue(self) -> None:
        resume.refuse_to_mix(self.results, manifest(), STUDY)

    def test_profiles_may_be_added(self) -> None:
        fewer = ENTRY | {"cells": ENTRY["cells"][:3]}
        resume.refuse_to_mix(self.results, manifest(entry=fewer), STUDY)

    def test_another_binary_or_plan_is_refused_with_what_differs(self) -> None:
        other = resume.plan_entry(replace(SETTINGS, seed=2), [])
        for entry, sha256, word in ((ENTRY, "bb", "server binary"), (other, "aa", "seed")):
            with self.assertRaises(Stop) as caught:
                resume.refuse_to_mix(self.results, manifest(), Study(entry, sha256, ENV))
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(word, str(caught.exception))
            self.assertIn("-o", str(caught.exception))

    def test_another_machine_is_refused_with_what_differs(self) -> None:
        others = {"cpu": "Other", "cores": 64, "memory_gib": 512.0, "virt": "none seen",
                  "kernel": "6.1.1", "os": "y", "mitigations": None, "aslr": 0,
                  "pinning": {"server": 2, "client": 3}, "siblings": True,
                  "governor": "powersave", "quota": 1.5}
        self.assertEqual(others.keys(), ENV.keys() - {"nofile"})
        for name, value in others.items():
            there = manifest(env=ENV | {name: value})
            with self.assertRaisesRegex(Stop, rf"another machine: {name} \(") as caught:
                resume.refuse_to_mix(self.results, there, STUDY)
            self.assertEqual(caught.exception.code, 2)
            self.assertNotIn("\n", str(caught.exception))
            manifests.write(self.results / "a", there)
            self.assertIsNone(resume.unfinished(self.results, STUDY))

    def test_limits_may_change_and_folders_of_earlier_versions_continue(self) -> None:
        resume.refuse_to_mix(self.results, manifest(env=ENV | {"nofile": 1}), STUDY)
        early = {k: v for k, v in ENV.items() if k not in machine.LATER}
        resume.refuse_to_mix(self.results, manifest(env=early), STUDY)

    def test_only_the_newest_unfinished_folder_of_this_plan_is_continued(self) -> None:
        self.assertIsNone(resume.unfinished(self.results, STUDY))
        manifests.write(self.results / "a", manifest())
        self.assertEqual(resume.unfinished(self.results, STUDY), self.results / "a")
        self.assertIsNone(resume.unfinished(self.results, replace(STUDY, sha256="bb")))
        manifests.write(self.results / "a", manifest(finished=True))
        self.assertIsNone(resume.unfinished(self.results, STUDY))

    def test_a_folder_of_another_schema_is_none_of_ours(self) -> None:
        manifests.write(self.results / "a", manifest() | {"schema": "idlewheel/0"})
        self.assertIsNone(resume.unfinished(self.results, STUDY))


if __name__ == "__main__":
    unittest.main()
