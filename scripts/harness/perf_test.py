import time
import unittest
from unittest import mock

from harness import perf, process
from harness.fold_test import script
from results.errors import Failed

LIMITED = """Error:
Access to performance monitoring and observability operations is limited.
Consider adjusting /proc/sys/kernel/perf_event_paranoid setting to open
"""


class Refusals(unittest.TestCase):
    CASES = {
        LIMITED: "Access to performance monitoring and observability operations is limited",
        "perf_event_open(..., 0) failed unexpectedly with error 1 (Operation not permitted)\n"
        "Error:\nNo permission to enable cpu-clock event.\n\n":
            "No permission to enable cpu-clock event",
        "event syntax error: 'raw_syscalls:sys_enter'\n   \\___ can't access trace events\n\n"
        "Error:\tNo permissions to read /sys/kernel/tracing/events/raw_syscalls/sys_enter\n"
        "Hint:\tTry 'sudo mount'\n":
            "No permissions to read /sys/kernel/tracing/events/raw_syscalls/sys_enter",
        "WARNING: perf not found for kernel 6.8.0-45\n\n  You may need to install\n":
            "WARNING: perf not found for kernel 6.8.0-45",
        "\nError:\n": "", "": "",
    }

    def test_the_sentence_that_says_what_is_wrong(self) -> None:
        for text, sentence in self.CASES.items():
            self.assertEqual(perf.refusal(text), sentence)


class Trial(unittest.TestCase):
    """What perf would record here, by what it answers."""

    def trial(self, code: int = 0, error: str = "", text: str | Exception = "") -> str:
        return self.shown(code, error, text).refused

    def shown(self, code: int = 0, error: str = "", text: str | Exception = "") -> perf.Trial:
        with (mock.patch.object(perf, "run", return_value=(code, "", error)),
              mock.patch.object(perf, "script", side_effect=[text])):
            return perf.trial()

    def test_stacks_that_reach_into_the_kernel(self) -> None:
        self.assertEqual(self.trial(text=script("/usr/bin/dd", 9, kernel="vfs_read")), "")

    def test_names_of_the_kernel_that_are_hidden_are_said(self) -> None:
        named = script("/usr/bin/dd", 9, kernel="vfs_read")
        hidden = named.replace("5f0a1 vfs_read ([kernel.kallsyms])",
                               "ffffffff81000130 [unknown] ([unknown])")
        self.assertEqual([self.shown(text=text) for text in (named, hidden)],
                         [perf.Trial("", True), perf.Trial("", False)])

    def test_user_mode_alone_is_said(self) -> None:
        self.assertEqual(self.trial(text=script("/usr/bin/dd", 40)), perf.USER_MODE_ONLY)

    def test_nothing_and_refusals(self) -> None:
        self.assertEqual(self.trial(), "perf recorded no stacks")
        self.assertIn("is limited", self.trial(255, LIMITED))
        self.assertEqual(self.trial(255), "perf record failed")
        self.assertEqual(self.trial(text=Failed("torn")), "torn")

    def test_counts_of_user_mode_are_no_counts(self) -> None:
        """At paranoid 2 perf counts raw_syscalls:sys_enteru, which is always nothing."""
        with mock.patch.object(perf, "run", return_value=(0, "", "0,,raw_syscalls:sys_enteru,9,100,,")):
            self.assertEqual(perf.trial_of_tracepoints(), "perf counted none")


class Records(unittest.TestCase):
    def end(self, script_: str) -> str:
        """What a perf that does as this shell script leaves, once it is told to end."""
        with perf.Recorder(["sh", "-c", f"{script_}; while :; do sleep 0.01; done"], set()) as found:
            limit = time.monotonic() + 10
            while not found.perf.errors() and time.monotonic() < limit:
                time.sleep(0.01)
            return found.end()

    def test_one_that_ends_as_it_was_told(self) -> None:
        self.assertIn("ready", self.end("echo ready >&2"))
        self.assertIn("ready", self.end("trap 'exit 0' INT; echo ready >&2"))

    def test_one_that_dies_before_it_answers_is_not_waited_for(self) -> None:
        for script_, said in (("kill -9 $$", "sh was killed by SIGKILL: it said nothing"),
                              ("echo no room >&2; exit 2", "sh ended with 2: no room")):
            started = time.monotonic()
            with perf.Recorder(["sh", "-c", script_], set()) as found:
                with self.assertRaisesRegex(Failed, f"before it could enable its events, {said}"):
                    with found.switched_on():
                        pass
            self.assertLess(time.monotonic() - started, perf.ACK_LIMIT_S)

    def test_one_that_was_killed_or_failed_at_the_end_is_no_measurement(self) -> None:
        with self.assertRaisesRegex(Failed, "sh was killed by SIGKILL: ready"):
            self.end("trap 'kill -9 $$' INT; echo ready >&2")
        with self.assertRaisesRegex(Failed, "sh ended with 3: disk full"):
            self.end("trap 'echo disk full >&2; exit 3' INT; echo ready >&2")

    def test_it_leaves_no_copies_in_the_home_folder_and_reads_no_settings(self) -> None:
        self.assertIn("--no-buildid-cache", perf.record_argv(1))
        self.assertEqual((perf.PERF_ENV["PERF_CONFIG"], perf.PERF_ENV["DEBUGINFOD_URLS"]),
                         ("/dev/null", ""))

    def test_the_buffer_has_a_bound_without_the_capability_to_lock_memory(self) -> None:
        """Also for root, who lacks it in a container."""
        all_but_it = ~(1 << perf.CAP_IPC_LOCK)
        for known, pages in (("516", 128), ("", 128), ("64", 8), ("0", 1)):
            with (mock.patch.object(perf, "capabilities", return_value=all_but_it),
                  mock.patch.object(process, "text_of", return_value=known),
                  mock.patch.object(perf.os, "sysconf", return_value=4096)):
                self.assertEqual(perf.mmap_pages(), pages)

    def test_with_that_capability_it_is_large(self) -> None:
        with mock.patch.object(perf, "capabilities", return_value=1 << perf.CAP_IPC_LOCK):
            self.assertEqual(perf.mmap_pages(), perf.MAX_PAGES)

    def test_root_of_another_user_namespace_is_not_root_to_perf(self) -> None:
        with (mock.patch.object(perf.os, "geteuid", return_value=0),
              mock.patch.object(perf, "text_of", return_value="0 100000 65536")):
            self.assertFalse(perf.is_root())


if __name__ == "__main__":
    unittest.main()
