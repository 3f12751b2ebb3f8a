import unittest

from report import summary

SHA = "0123456789abcdef" * 2 + "01234567"


class Commit(unittest.TestCase):
    def test_it_is_the_servers_not_the_scripts(self) -> None:
        there = {"git": {"sha": "f" * 40, "dirty": True}}
        for built, said in ((SHA, "0123456789"), (SHA + "-dirty", "0123456789 with local changes"),
                            (None, "unknown")):
            about = summary.about(there | {"binary": {"commit": built}})
            self.assertIn(f"commit {said} ·", about)

    def test_a_folder_of_an_earlier_version_has_that_of_the_scripts(self) -> None:
        there = {"git": {"sha": SHA, "dirty": True}, "binary": {"sha256": "x"}}
        self.assertEqual(summary.commit(there), "0123456789 with local changes")
        self.assertEqual(summary.commit({}), "unknown")


class Hosts(unittest.TestCase):
    def test_the_first_line_says_that_the_load_came_from_others(self) -> None:
        env = {"cpu": "A Chip", "hosts": {"server s": "A Chip", "client a": "x", "client b": "x"}}
        self.assertIn("A Chip, load from 2 other hosts ·", summary.about({"env": env}))
        env["hosts"].pop("client b")
        self.assertIn("load from 1 other host ·", summary.about({"env": env}))
        self.assertNotIn("load from", summary.about({"env": {"cpu": "A Chip"}}))


if __name__ == "__main__":
    unittest.main()
