"""run, profile and doctor with both transports of the server, and where one is refused."""

import json
import unittest
from unittest import mock

from harness import environment, measure
from harness.environment_test import GOOD, RINGLESS
from report import testing
from results.cell import IOS, Measurement
from results.sample import Sample
from study_cli import commands_test
from study_cli.commands_test import call, figures


class Refused(commands_test.Refusing):
    def test_a_refused_ring(self) -> None:
        run = ["run", "--server", self.fake(), "-o", str(self.folder / "out"), "--io"]
        for io in ("io_uring", "epoll,io_uring"):
            err = self.ends_with_three(RINGLESS, *run, io)
            self.assertIn("io_uring: not available: a sandbox (seccomp) forbids it; fix: ", err)
        run[2] = self.fake("no ring")  # built without it, for example
        self.assertIn("io_uring is not available: Operation not permitted", self.ends_with_three(
            GOOD, *run, "io_uring", "--backends", "ordered-list"))
        self.assertFalse((self.folder / "out").exists())
        with mock.patch.object(environment, "gather", return_value=RINGLESS):
            code, out, _ = call("doctor")
        self.assertEqual(code, 0)
        self.assertIn("note io_uring: not available: a sandbox", out)


class Both(commands_test.Running):
    def test_both_transports_interrupted_then_resumed(self) -> None:
        calls = []

        def interrupted(bench: measure.Bench, todo: Measurement) -> Sample:
            calls.append(todo.id)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return figures(bench, todo)

        both = ["--io", "epoll,io_uring"]
        self.assertEqual(self.run_study(interrupted, *both)[0], 130)
        code, _, err = self.run_study(figures)
        self.assertEqual((code, len(err.splitlines())), (2, 1), err)
        self.assertIn("different io", err)
        code, _, err = self.run_study(figures, *both)
        self.assertEqual(code, 0, err)
        self.assertEqual([s.id for s in self.samples()], self.manifest()["plan"]["cells"])
        epoll, ring = ({s.id.replace("~io_uring", "") for s in self.samples() if s.io == io}
                       for io in IOS)
        self.assertEqual(epoll, ring)
        self.assertIn(" io_uring: ", err)

    def test_a_folder_that_knows_no_transport_goes_on(self) -> None:
        self.run_study(figures, "--no-profile")
        there = self.manifest()
        del there["plan"]["io"]
        (self.folder / "out/manifest.json").write_text(json.dumps(there))
        testing.change_samples(self.folder / "out", lambda sample: sample.pop("io"))
        before = self.samples()
        code, _, err = self.run_study(figures)
        self.assertEqual(code, 0, err)
        self.assertEqual(self.samples()[:len(before)], before)
        code, _, err = self.profile("--io", "io_uring", "--rearm", "lazy")
        self.assertEqual(code, 0, err)
        added = {s.kind for s in self.samples() if s.io == "io_uring"}
        self.assertEqual(added, {"profile", "dwarf"})


if __name__ == "__main__":
    unittest.main()
