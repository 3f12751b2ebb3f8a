import errno
import os
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

from harness import environment, facts, io_uring, perf
from harness.environment import Facts, checks
from harness.facts import TOOLS
from harness.process import HostTimes

GOOD = Facts(python=(3, 11), cores=[0, 1], nofile=20_000, somaxconn=4096,
             port_range=(32768, 60999), time_wait=0, tw_reuse=2, perf_paranoid=2, kptr_restrict=0,
             root=True, tools={name: f"/usr/bin/{name}" for name in TOOLS},
             perf_records="", tracepoints="", d3=True)


RINGLESS = replace(GOOD, io_uring=io_uring.explained(errno.EPERM, 0))


def failed(facts: Facts, connections: int = 10_000, **kinds: bool) -> dict[str, bool]:
    return {c.name: c.must for c in checks(facts, connections, **kinds) if not c.ok}


def line_of(facts: Facts, name: str) -> str:
    return next(c.line() for c in checks(facts, 400) if c.name == name)


def without(tool: str) -> Facts:
    return replace(GOOD, tools=GOOD.tools | {tool: None})


class Checks(unittest.TestCase):
    def test_a_good_machine_passes(self) -> None:
        self.assertEqual(failed(GOOD), {})

    def test_a_machine_that_measures_others_needs_ssh_and_no_cores(self) -> None:
        def lacking(facts: Facts, report: bool = True) -> list[str]:
            return [c.name for c in environment.checks_of_control(facts, report) if c.must and not c.ok]

        alone = replace(GOOD, cores=[0], nofile=100, tools={"ssh": "/usr/bin/ssh"})
        self.assertEqual(lacking(alone), [])
        self.assertEqual(lacking(without("ssh")), ["ssh"])
        self.assertEqual(lacking(replace(GOOD, d3=False)), ["report's charts"])
        self.assertEqual(lacking(replace(GOOD, d3=False), report=False), [])

    def test_musts(self) -> None:
        cases = {
            "python": replace(GOOD, python=(3, 9)),
            "cores": replace(GOOD, cores=[0]),
            "descriptors": replace(GOOD, nofile=10_099),
            "port range": replace(GOOD, port_range=(50_000, 60_098)),
            "wrk": without("wrk"),
            "perf": without("perf"),
            "perf record": replace(GOOD, perf_records="Permission denied"),
            "report's charts": replace(GOOD, d3=False),
            "io_uring": RINGLESS,
        }
        for name, facts in cases.items():
            self.assertEqual(failed(facts, ring=True), {name: True})

    def test_notes(self) -> None:
        cases = {
            "somaxconn": replace(GOOD, somaxconn=128),
            "kptr_restrict": replace(GOOD, kptr_restrict=2),
            "TIME_WAIT": replace(GOOD, tw_reuse=0, time_wait=20_000),
            "node": without("node"),
            "perf tracepoints": replace(GOOD, tracepoints="No permissions to read"),
            "core siblings": replace(GOOD, siblings=True),
            "frequency governor": replace(GOOD, governors={0: "performance", 1: "powersave"}),
            "CPU quota": replace(GOOD, quota=1.5),
            "kernel counters": replace(GOOD, uncounted=["steal"]),
            "io_uring": RINGLESS,
        }
        for name, facts in cases.items():
            self.assertEqual(failed(facts), {name: False})

    def test_what_is_well_is_no_note(self) -> None:
        fast = replace(GOOD, governors={0: "performance", 1: "performance"}, quota=2.0)
        self.assertEqual(failed(fast), {})

    def test_what_slows_the_cores_is_named(self) -> None:
        bad = replace(GOOD, cores=[2, 5], siblings=True, quota=0.5, governors={2: "powersave"})
        said = line_of(bad, "core siblings") + line_of(bad, "CPU quota")
        for words in ("cores 2 and 5 are two threads of one core", "0.5 cores' time", "--cpus"):
            self.assertIn(words, said)
        self.assertIn("powersave on core 2", line_of(bad, "frequency governor"))

    def test_a_machine_that_says_nothing(self) -> None:
        """No file of /proc, /sys or cgroup can be read; every check still has its line."""
        silent = HostTimes(0.0, None, None, {}, None)
        with (mock.patch("harness.process.Path.read_text", side_effect=FileNotFoundError),
              mock.patch.object(HostTimes, "read", return_value=silent),
              mock.patch.object(perf, "trial", return_value=""),
              mock.patch.object(perf, "trial_of_tracepoints", return_value="")):
            gathered = environment.gather(Path("/nowhere"))
            found = environment.fingerprint(gathered, Path("/nowhere/server"))
        self.assertIsNone(gathered.somaxconn)
        self.assertEqual((found["somaxconn"], found["port_range"], found["quota"]),
                         (None, None, "none"))
        lines = "\n".join(check.line() for check in checks(gathered, 400))
        self.assertNotRegex(lines, r"None|-1\b")
        self.assertIn("port range: this machine does not say", lines)
        self.assertIn("absent: CPU time of other programs, steal, how busy", lines)

    def test_the_limits_are_exact(self) -> None:
        self.assertEqual(failed(replace(GOOD, nofile=10_100)), {})
        self.assertEqual(failed(replace(GOOD, nofile=10_100), 10_001), {"descriptors": True})
        self.assertEqual(failed(replace(GOOD, port_range=(50_000, 60_099))), {})

    def test_perf_is_no_must_without_profiles_nor_d3_without_report(self) -> None:
        self.assertEqual(failed(without("perf"), profile=False), {"perf": False})
        self.assertEqual(failed(replace(GOOD, d3=False), report=False), {"report's charts": False})

    def test_a_full_disk_is_what_keeps_perf_from_recording(self) -> None:
        full = replace(GOOD, perf_records="failed to write perf data, error: No space left on device")
        line = next(c.line() for c in checks(full, 400) if c.name == "perf record")
        self.assertIn("fix: set TMPDIR to a folder with room, or --no-profile", line)

    def test_every_failure_is_one_line_that_says_the_fix(self) -> None:
        bad = replace(GOOD, python=(3, 9), cores=[0], nofile=64, somaxconn=1, port_range=(1, 2),
                      tools=dict.fromkeys(TOOLS), perf_records="no", tracepoints="no",
                      d3=False, kptr_restrict=2, tw_reuse=0, time_wait=9)
        for check in checks(bad, 400):
            if not check.ok:
                self.assertRegex(check.line(), r"^[^\n]+; fix: [^\n]+$")
                self.assertNotIn("\n", check.line())

    def test_the_fix_for_descriptors_names_the_number(self) -> None:
        line = environment.check_files(1024, 5000).line()
        self.assertIn("5100", line)
        self.assertIn("1024", line)


class Permission(unittest.TestCase):
    """The fix of perf helps where the study runs, and is not what was already done."""

    USER = replace(GOOD, root=False, perf_paranoid=2, perf_records=perf.USER_MODE_ONLY,
                   tracepoints="No permissions to read", tracefs="unreadable")
    SYSCTL = "sysctl -w kernel.perf_event_paranoid=1 as root"

    def fix(self, facts: Facts, name: str = "perf record") -> str:
        return line_of(facts, name).partition("; fix: ")[2]

    def test_a_user_on_a_bare_machine(self) -> None:
        self.assertEqual(self.fix(self.USER), f"{self.SYSCTL}, or --no-profile")
        for paranoid in (3, 4):  # Debian's and Ubuntu's own
            self.assertIn(self.SYSCTL, self.fix(replace(self.USER, perf_paranoid=paranoid)))

    def test_what_is_so_already_is_not_named(self) -> None:
        for paranoid in (1, 0, -1):
            found = self.fix(replace(self.USER, perf_paranoid=paranoid, perf_records="no"))
            self.assertEqual(found, "run as root, or --no-profile")

    def test_a_user_may_record_without_tracepoints(self) -> None:
        able = replace(self.USER, perf_paranoid=1, perf_records="")
        self.assertEqual(failed(able), {"perf tracepoints": False})
        with mock.patch.object(os, "getgid", return_value=1234):  # root's own would not help
            self.assertIn("remount,gid=1234,mode=750 /sys/kernel/tracing",
                          self.fix(able, "perf tracepoints"))
        self.assertIn("system calls are not counted", line_of(able, "perf tracepoints"))

    def test_perf_that_may_record_whatever_the_setting_is_no_note(self) -> None:
        """The capability may lie on perf's own file."""
        able = replace(self.USER, perf_records="", tracepoints="")
        self.assertEqual(failed(able), {})

    def test_io_uring(self) -> None:
        cases = {errno.EPERM: (2, "sysctl -w kernel.io_uring_disabled=0 as root"),
                 errno.EACCES: (0, "nothing that this program knows of"),
                 errno.EINVAL: (0, "boot Linux 6.1 or newer"),
                 errno.ENOMEM: (0, "ulimit -Hl unlimited")}
        for number, (disabled, words) in cases.items():
            refused = replace(GOOD, io_uring=io_uring.explained(number, disabled))
            self.assertIn(words, self.fix(refused, "io_uring"))
            self.assertTrue(self.fix(refused, "io_uring").endswith(", or --io epoll"))
        for number in (errno.EPERM, errno.ENOSYS):
            sandboxed = replace(GOOD, io_uring=io_uring.explained(number, 0))
            self.assertIn("outside of the sandbox", self.fix(sandboxed, "io_uring"))
            self.assertIn("seccomp=unconfined", self.fix(replace(sandboxed, container=True),
                                                         "io_uring"))

    def test_root_of_a_container(self) -> None:
        inside = replace(GOOD, container=True, seccomp=True, perf_records="No permission")
        self.assertEqual(self.fix(inside), "start the container with --cap-add PERFMON "
                         "--security-opt seccomp=unconfined, or --no-profile")
        capable = replace(inside, perfmon=True)
        self.assertNotIn("--cap-add", self.fix(capable))
        self.assertIn("seccomp=unconfined", self.fix(capable))
        self.assertEqual(self.fix(replace(capable, seccomp=False)),
                         "run it outside of the container, or --no-profile")

    def test_a_user_of_a_container_needs_its_host(self) -> None:
        inside = replace(self.USER, container=True, seccomp=True)
        self.assertIn(f"{self.SYSCTL} on the container's host", self.fix(inside))
        self.assertNotIn("seccomp", self.fix(inside))  # perf does record, so nothing filters it
        refused = replace(inside, perf_records="No permission")
        self.assertIn("seccomp=unconfined and sysctl", self.fix(refused))
        self.assertNotIn("sysctl", self.fix(replace(refused, perf_paranoid=1)))

    def test_a_container_without_tracefs(self) -> None:
        inside = replace(GOOD, container=True, tracepoints="not found", tracefs="not mounted")
        self.assertIn("-v /sys/kernel/tracing:", self.fix(inside, "perf tracepoints"))
        bare = replace(inside, container=False)
        self.assertIn("mount -t tracefs", self.fix(bare, "perf tracepoints"))

    def test_settings_of_the_network_belong_to_the_container(self) -> None:
        bad = replace(GOOD, somaxconn=128, port_range=(1, 2), tw_reuse=0, time_wait=9)
        for name in ("somaxconn", "port range", "TIME_WAIT"):
            self.assertRegex(self.fix(bad, name), r"^sysctl -w net\.[^ ]+=.* as root")
            self.assertRegex(self.fix(replace(bad, container=True), name),
                             r"^start the container with --sysctl net\.")

    def test_a_sandbox_without_a_container(self) -> None:
        found = self.fix(replace(GOOD, seccomp=True, perfmon=True, perf_records="No"))
        self.assertEqual(found, "run it outside of the sandbox (seccomp) that forbids it, or "
                         "--no-profile")

    def test_perf_of_another_kernel(self) -> None:
        wrong = replace(GOOD, perf_records="WARNING: perf not found for kernel 6.8.0-45")
        self.assertIn("linux-tools-$(uname -r)", self.fix(wrong))

    def test_without_perf_there_is_one_line(self) -> None:
        missing = replace(without("perf"), perf_records="perf is not installed",
                          tracepoints="perf is not installed")
        self.assertEqual(failed(missing), {"perf": True})


class Containers(unittest.TestCase):
    def found(self, marks: set[str], read_only: bool, ids: str = "0 0 4294967295",
              group: str = "") -> bool:
        texts = {"/proc/self/uid_map": ids, "/proc/1/cgroup": group}
        with (mock.patch.object(os.path, "exists", side_effect=marks.__contains__),
              mock.patch.object(facts, "text_of", side_effect=lambda p: texts.get(p, "")),
              mock.patch.object(perf, "text_of", side_effect=lambda p: texts.get(p, "")),
              mock.patch.dict(os.environ, clear=True),
              mock.patch.object(os, "statvfs", return_value=mock.Mock(
                  f_flag=os.ST_RDONLY if read_only else 0))):
            return facts.in_container()

    def test_marks_of_engines_count_where_the_settings_are_out_of_reach(self) -> None:
        self.assertTrue(self.found({"/.dockerenv"}, True))
        self.assertTrue(self.found({"/run/.containerenv"}, False, "0 1000 1\n1 100000 65536"))
        self.assertTrue(self.found(set(), True, group="4:cpu:/lxc/web"))
        self.assertFalse(self.found({"/.dockerenv"}, False))  # privileged, or a guest of its image
        self.assertFalse(self.found(set(), True))


if __name__ == "__main__":
    unittest.main()
