import tempfile
import unittest
from pathlib import Path

from harness import cpus


class Machine(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")


class Cores(Machine):
    def topology(self, lists: dict[int, str], name: str = "core_cpus_list") -> None:
        self.write({f"sys/devices/system/cpu/cpu{cpu}/topology/{name}": text
                    for cpu, text in lists.items()})

    def test_another_core_goes_before_a_sibling(self) -> None:
        self.topology({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"})
        self.assertEqual(cpus.pair([0, 1, 2, 3], self.root), (0, 2))
        self.assertEqual(cpus.siblings(0, self.root), {0, 1})

    def test_two_threads_of_one_core_where_there_is_no_other(self) -> None:
        self.topology({0: "0,4", 4: "0,4"}, "thread_siblings_list")
        self.assertEqual(cpus.pair([0, 4], self.root), (0, 4))
        self.assertIn(4, cpus.siblings(0, self.root))

    def test_a_set_with_gaps(self) -> None:
        self.topology({2: "2", 5: "5"})
        self.assertEqual(cpus.pair([2, 5], self.root), (2, 5))
        self.assertEqual(cpus.pair([5], self.root), (5, 5))

    def test_perf_has_a_core_of_its_own_where_there_is_a_third(self) -> None:
        self.topology({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3", 4: "4-5", 5: "4-5"})
        self.assertEqual(cpus.of_perf([0, 1, 2, 3, 4, 5], self.root), 4)
        self.assertEqual(cpus.of_perf([0, 1, 2, 3], self.root), 2)  # siblings of the pair are left
        self.assertEqual(cpus.of_perf([0, 5], self.root), 5)
        self.assertEqual(cpus.of_perf([0], self.root), 0)

    def test_a_machine_that_says_nothing_or_nonsense(self) -> None:
        self.assertEqual(cpus.pair([0, 1], self.root), (0, 1))
        self.assertEqual(cpus.siblings(7, self.root), {7})
        self.topology({0: "", 1: "offline"})  # an offline core has an empty list
        self.assertEqual(cpus.siblings(0, self.root), {0})
        self.assertEqual(cpus.siblings(1, self.root), {1})

    def test_governors(self) -> None:
        self.assertEqual(cpus.governors((0, 1), self.root), {})
        self.write({"sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil"})
        self.assertEqual(cpus.governors((0, 1), self.root), {1: "schedutil"})


class Quota(Machine):
    V2 = "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw"
    V1 = "30 1 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"

    def group(self, text: str, mounts: str, **files: str) -> float | None:
        self.write({"proc/self/cgroup": text, "proc/self/mountinfo": mounts} |
                   {f"sys/fs/cgroup/{name}": limit for name, limit in files.items()})
        return cpus.quota(self.root)

    def test_version_2_at_every_level_up_to_the_root(self) -> None:
        own = "0::/user.slice/app"
        self.assertIsNone(self.group(own, self.V2))
        self.assertIsNone(self.group(own, self.V2, **{"user.slice/app/cpu.max": "max 100000"}))
        self.assertEqual(self.group(own, self.V2, **{"user.slice/cpu.max": "150000 100000"}), 1.5)
        self.assertEqual(self.group(own, self.V2, **{"user.slice/app/cpu.max": "50000 100000"}), 0.5)
        self.assertEqual(self.group(own, self.V2, **{"cpu.max": "10000 100000"}), 0.1)

    def test_a_group_beside_ones_own_does_not_count(self) -> None:
        self.assertIsNone(self.group("0::/mine", self.V2, **{"other/cpu.max": "1000 100000"}))

    def test_version_1_at_every_level(self) -> None:
        own, mounts = "4:cpu,cpuacct:/a/b\n3:memory:/m\n0::/", self.V1.format(top="/")
        folder = "cpu,cpuacct"
        self.assertIsNone(self.group(own, mounts, **{
            f"{folder}/a/b/cpu.cfs_quota_us": "-1", f"{folder}/a/b/cpu.cfs_period_us": "100000"}))
        self.assertEqual(self.group(own, mounts, **{
            f"{folder}/a/cpu.cfs_quota_us": "200000", f"{folder}/a/cpu.cfs_period_us": "100000"}), 2)

    def test_a_container_sees_its_own_group_as_the_top(self) -> None:
        """With a namespace the path is /; without one, version 1 mounts what lies below the top."""
        self.assertEqual(self.group("0::/", self.V2, **{"cpu.max": "75000 50000"}), 1.5)
        (self.root / "sys/fs/cgroup/cpu.max").unlink()
        self.assertEqual(self.group("4:cpu,cpuacct:/docker/1f", self.V1.format(top="/docker/1f"), **{
            "cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}), 0.5)

    def test_a_group_above_the_namespace(self) -> None:
        self.assertEqual(self.group("0::/../../init", self.V2, **{"cpu.max": "100000 100000"}), 1)

    def test_a_mount_with_a_space(self) -> None:
        mounts = "29 1 0:26 / /my\\040groups rw - cgroup2 none rw"
        self.write({"my groups/a/cpu.max": "100000 100000"})
        self.assertEqual(self.group("0::/a", mounts), 1)

    def test_a_machine_without_groups_or_with_nonsense(self) -> None:
        self.assertIsNone(cpus.quota(self.root))
        self.assertIsNone(self.group("x", "y - z\n - cgroup2\n"))
        self.assertIsNone(self.group("0::/", self.V2, **{"cpu.max": "100000 0"}))


if __name__ == "__main__":
    unittest.main()
