"""scripts/setup on several releases, with stand-ins for the tools of Debian."""

import os
import platform
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup"
TOOLS_OF_KERNEL = f"linux-tools-{platform.release()}"
TOOLS = {
    # Nothing is installed, but for what `installed` names.
    "dpkg-query": 'grep -qx -- "$3" "$FAKE/installed" && echo installed',
    "apt-get": 'echo "apt-get $*" >>"$FAKE/calls"\n'
               'echo "E: from apt" >&2\nexit "$(cat "$FAKE/apt-get-exit-$1" 2>/dev/null || echo 0)"',
    # For a name that is only mentioned somewhere it ends well, and says nothing.
    "apt-cache": 'shift 3\ngrep -qx -- "$1" "$FAKE/mentioned" && exit\n'
                 '! grep -qx -- "$1" "$FAKE/unknown" && echo "Package: $1"',
    "sudo": 'exec "$@"',
    "node": "exit 0", "npm": "exit 0", "promtool": "exit 0", "nginx": "exit 0", "h2o": "exit 0",
    "sshd": "exit 0",
}


class Setup(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        for name, text in TOOLS.items():
            path = self.folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("#!/bin/sh\n" + text + "\n")
            path.chmod(0o755)
        for name in ("installed", "unknown", "mentioned", "calls"):
            self.file(name)
        self.file("os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')

    def file(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def run_setup(self) -> tuple[int, str]:
        ended = subprocess.run(
            [SETUP], capture_output=True, text=True, timeout=60,
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin", "FAKE": str(self.folder),
                 "OS_RELEASE": str(self.folder / "os-release"), "HOME": os.environ.get("HOME", "/")})
        return ended.returncode, ended.stderr.replace("E: from apt\n", "")

    def calls(self) -> str:
        return (self.folder / "calls").read_text()

    def installs(self) -> list[str]:
        """The packages that apt-get was asked for. Nothing is done to the tree afterwards."""
        self.file("apt-get-exit-install", "100")
        self.file("calls")
        self.run_setup()
        found = re.findall(r"apt-get install (.*)", self.calls())
        self.assertEqual(len(found), 1)
        return [word for word in found[0].split() if not word.startswith("-")]

    def test_each_release_gets_the_names_that_it_has(self) -> None:
        newer = ["libboost-dev", "libboost-context-dev", "libssl3t64"]
        releases = {  # what it does not have, and what it gets
            "Debian 12": (["libssl3t64"], ["libboost1.81-dev", "libboost-context1.81-dev",
                                           "linux-perf", "libssl3"]),
            "Debian 13": (["libboost-context1.81-dev"], [*newer, "linux-perf"]),
            "Ubuntu 24.04": (["libboost-context1.81-dev", "linux-perf", TOOLS_OF_KERNEL],
                             [*newer, "linux-tools-generic"])}
        for release, (unknown, expected) in releases.items():
            with self.subTest(release=release):
                self.file("unknown", "".join(name + "\n" for name in unknown))
                self.file("mentioned", "" if release == "Debian 12" else "libboost1.81-dev\nlibssl3\n")
                found = [name for name in self.installs()
                         if re.match("libboost|linux-|libssl3", name)]
                self.assertEqual(sorted(found), sorted(expected))

    def test_names_that_this_release_does_not_have_are_one_line(self) -> None:
        for absent in (["libclang-rt-dev", "wrk"], ["linux-perf"]):
            unknown = [*absent, TOOLS_OF_KERNEL, "linux-tools-generic"]
            self.file("unknown", "".join(name + "\n" for name in unknown))
            code, error = self.run_setup()
            self.assertEqual((code, len(error.splitlines())), (3, 1), error)
            self.assertIn("Debian GNU/Linux 13 (trixie) has no package " + " ".join(absent), error)
            self.assertIn("use Debian 12, Debian 13 or Ubuntu 24.04", error)
            self.assertNotIn("apt-get install", self.calls())

    def test_what_is_installed_already_need_not_be_known(self) -> None:
        self.file("unknown", "libboost1.81-dev\nlibboost-dev\n")
        for name in ("libboost1.81-dev", "libboost-dev"):
            self.file("installed", f"{name}\n")
            installs = self.installs()
            self.assertNotIn("libboost1.81-dev", installs)
            self.assertNotIn("libboost-dev", installs)
            self.assertIn("libcli11-dev", installs)

    def test_without_network_it_says_what_failed(self) -> None:
        for step, words in (("update", "apt-get update failed"), ("install", "apt-get install failed")):
            self.file(f"apt-get-exit-{step}", "100")
            code, error = self.run_setup()
            self.assertEqual(code, 3)
            self.assertIn(f"setup: {words}", error.splitlines()[-1])
            self.file(f"apt-get-exit-{step}", "0")

    def test_a_system_without_a_name_of_its_release(self) -> None:
        (self.folder / "os-release").unlink()
        self.file("unknown", "wrk\n")
        code, error = self.run_setup()
        self.assertEqual((code, error.split(";")[0]), (3, "setup: this system has no package wrk"))


if __name__ == "__main__":
    unittest.main()
