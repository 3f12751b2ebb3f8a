"""What compose_flags.py makes of a service; that it knows all keys of compose.yaml is shown too."""

import io
import json
import subprocess
import unittest
from pathlib import Path
from unittest import mock

import compose_flags
from manifests_test import COMPOSE, Manifests, documents

SCRIPT = Path(__file__).resolve().with_name("compose_flags.py")


class Flags(unittest.TestCase):
    def test_variables_are_filled_as_compose_does(self) -> None:
        env = {"A": "1", "EMPTY": ""}
        for text, wanted in (("${A:-x}", "1"), ("${B:-0,1}", "0,1"), ("${EMPTY:-d}", "d"),
                             ("$$A ${A:-}$$", "$A 1$"), ("plain", "plain")):
            self.assertEqual(compose_flags.filled(text, env), wanted)
        self.assertEqual(compose_flags.filled({"a": ["${A:-x}", 3, True]}, env), {"a": ["1", 3, True]})

    def test_the_image_stands_between_flags_and_command(self) -> None:
        service = {"command": ["run", "--x"], "image": "name", "cpuset": "0", "cap_add": ["A", "B"]}
        self.assertEqual(list(compose_flags.flags(service)),
                         ["--cpuset-cpus=0", "--cap-add=A", "--cap-add=B", "name", "run", "--x"])

    def test_a_key_or_a_volume_that_it_does_not_know_ends_it(self) -> None:
        for service in ({"image": "x", "shm_size": "1g"},
                        {"image": "x", "volumes": [{"type": "volume", "source": "a", "target": "/b"}]}):
            with (mock.patch("sys.stderr", io.StringIO()) as said,
                  self.assertRaises(SystemExit) as ended):
                list(compose_flags.flags(service))
            self.assertEqual(ended.exception.code, 2)
            self.assertIn("no flag for", said.getvalue())

    def test_bad_usage_and_an_unknown_service(self) -> None:
        for argv in ([], ["a", "b"], ["a"]):
            found = subprocess.run([SCRIPT, *argv], input='[{"services": {}}]', text=True,
                                   capture_output=True)
            self.assertEqual((found.returncode, found.stdout), (2, ""))
            self.assertEqual(len(found.stderr.splitlines()), 1)


class Compose(Manifests):
    def test_every_service_has_its_flags(self) -> None:
        (file,) = documents(COMPOSE)
        for name in file["services"]:
            found = subprocess.run([SCRIPT, name], input=json.dumps([file]), text=True,
                                   capture_output=True, check=True).stdout.split("\0")
            for flag in ("--read-only", "--cap-drop=ALL", "--ulimit=nofile=20000:20000"):
                self.assertIn(flag, found)


if __name__ == "__main__":
    unittest.main()
