"""The commit that is built into the server (commit.cmake)."""

import os
import pathlib
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent


class Commit(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name).resolve()
        self.repository = self.scratch / "a tree (1)"
        self.header = self.scratch / "made" / "commit.hpp"
        self.repository.mkdir()
        self.git("init", "-q")
        (self.repository / "file").write_text("1")
        self.git("add", "file")
        self.commit()

    def git(self, *words: str) -> str:
        # Nothing of this user's or of the tree that the tests run in.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.scratch)}
        return subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=self.repository,
            env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("commit", "-q", "--allow-empty", "-a", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def built_in(self, folder: pathlib.Path | None = None, **environment: str) -> str:
        subprocess.run(
            ["cmake", "-D", f"FOLDER={folder or self.repository}", "-D", f"HEADER={self.header}",
             "-P", HERE / "commit.cmake"], check=True, env={**os.environ, **environment})
        _, name, text = self.header.read_text().split()
        self.assertEqual(name, "IDLEWHEEL_COMMIT")
        return text.strip('"')

    def test_it_is_that_of_each_build(self):
        for _ in range(2):
            self.assertEqual(self.built_in(), self.git("rev-parse", "HEAD"))
            self.commit()

    def test_a_changed_file_is_said_and_one_that_is_not_tracked_is_not(self):
        clean = self.built_in()
        (self.repository / "notes").write_text("x")
        self.assertEqual(self.built_in(), clean)
        (self.repository / "file").write_text("2")
        self.assertEqual(self.built_in(), clean + "-dirty")
        self.git("add", "file")
        self.assertEqual(self.built_in(), clean + "-dirty")
        self.assertEqual(self.commit(), self.built_in())

    def test_the_header_stays_as_it_is_until_the_answer_changes(self):
        self.built_in()
        os.utime(self.header, (1, 1))
        (self.repository / "file").touch()
        self.built_in()
        self.assertEqual(self.header.stat().st_mtime, 1)
        self.commit()
        self.built_in()
        self.assertNotEqual(self.header.stat().st_mtime, 1)

    def test_an_archive_has_none_also_inside_of_another_repository(self):
        inside = self.repository / "unpacked"
        inside.mkdir()
        outside = self.scratch / "outside"
        outside.mkdir()
        for folder in (inside, outside):
            self.assertEqual(self.built_in(folder), "unknown")
        (inside / "file").write_text("x")
        self.git("add", "unpacked")
        self.commit()
        self.assertEqual(self.built_in(inside), "unknown")

    def test_a_repository_without_a_commit_has_none(self):
        empty = self.scratch / "empty"
        empty.mkdir()
        subprocess.run(["git", "init", "-q", empty], check=True)
        self.assertEqual(self.built_in(empty), "unknown")

    def test_a_second_worktree_has_its_own(self):
        other = self.scratch / "other"
        self.git("worktree", "add", "-q", "-b", "other", str(other))
        first = self.git("rev-parse", "HEAD")
        self.commit()
        self.assertEqual(self.built_in(other), first)

    def test_variables_of_another_repository_do_not_matter(self):
        other = self.scratch / "other"
        subprocess.run(["git", "init", "-q", other], check=True)
        self.assertEqual(self.built_in(GIT_DIR=str(other / ".git"), GIT_WORK_TREE=str(other)),
                         self.git("rev-parse", "HEAD"))

    def test_without_git_there_is_none(self):
        tools = self.scratch / "tools"
        tools.mkdir()
        (tools / "cmake").symlink_to(subprocess.run(
            ["sh", "-c", "command -v cmake"], check=True, capture_output=True,
            text=True).stdout.strip())
        self.assertEqual(self.built_in(PATH=str(tools)), "unknown")


if __name__ == "__main__":
    unittest.main()
