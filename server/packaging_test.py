"""The configuration file of the package: it names every flag once, with its default, and says rightly
which of them a reload changes. scripts/test-packages tests the rest of packaging/."""

import pathlib
import re
import signal
import tempfile
import unittest

from testing import Server, ServiceManager, run

PACKAGED = (pathlib.Path(__file__).resolve().parent / "packaging/server.conf").read_text()
# Flags that a service has no use for.
LEFT_OUT = {"scenario", "mixed-period", "timer-trace"}
# Another value of each kind, to see what a reload makes of it.
OTHERS = {"DURATION": "77s", "BYTES": "777", "N": "77", "IP": "127.0.0.7", "FILE": "/dev/null"}
CHOICES = {"rearm": "eager", "io": "auto", "timer-backend": "none", "log-level": "debug"}


def flags_of_help() -> dict[str, tuple[str, str]]:
    """The kind of each flag's value, and its default."""
    options = re.split(r"(?m)^Listening:$", run("--help").stdout)[1]
    found = re.findall(r"(?m)^  --([a-z-]+)(?: ([^\s=]+))?(?:=(\S+))?", options)
    return {name: (kind, default) for name, kind, default in found}


def lines_of(text: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^#?([a-z-]+) = (.+)$", text))


class PackagedConfiguration(unittest.TestCase):
    def test_it_has_every_flag_with_its_default(self):
        flags, lines = flags_of_help(), lines_of(PACKAGED)
        self.assertGreater(len(flags), 20)
        self.assertEqual(set(lines), set(flags) - LEFT_OUT)
        self.assertEqual(len(lines), len(re.findall(r"(?m)^#?[a-z-]+ = ", PACKAGED)))
        self.assertEqual({name for name, value in lines.items() if (flags[name][1] or "false") != value},
                         {"admin-port", "access-log"})

    def test_the_server_takes_it_and_every_line_in_it(self):
        for text in (PACKAGED, re.sub(r"(?m)^#([a-z-]+ = )", r"\1", PACKAGED)):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                checked = run("--config", file.name, "--check-config")
                self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_a_reload_changes_the_first_part_and_not_the_second(self):
        running, restart = (list(lines_of(part)) for part in PACKAGED.split("# ---- ")[1:])
        flags = flags_of_help()
        with tempfile.NamedTemporaryFile("w") as file, ServiceManager() as manager, \
                Server("--config", file.name, environment=manager.environment) as server:
            manager.wait_for("READY")
            for name in running + restart:
                value = CHOICES.get(name) or OTHERS.get(flags[name][0], "true")
                file.write(f"{name} = {value}\n")
            file.flush()
            server.process.send_signal(signal.SIGHUP)
            manager.wait_for("RELOADING")
            manager.wait_for("READY")
            server.stop()
        changed = re.search("changed: (.+)", server.errors)[1].split(", ")
        kept = re.search("until a restart: (.+)", server.errors)[1].split(", ")
        self.assertEqual(sorted(changed), sorted(running))
        # The command line of these tests has the others.
        self.assertEqual(sorted(kept), sorted(set(restart) - {"port", "admin-port", "io"}))


if __name__ == "__main__":
    unittest.main()
