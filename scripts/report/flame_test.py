"""The tests of the viewer's JavaScript, which Node.js runs."""

import shutil
import subprocess
import unittest

from report import page


class FlameJs(unittest.TestCase):
    @unittest.skipUnless(shutil.which("node"), "needs node (scripts/setup installs it)")
    def test_all_of_flame_test_js(self) -> None:
        ran = subprocess.run(["node", "--test", "."], cwd=page.HERE, capture_output=True, text=True,
                             timeout=120)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        self.assertRegex(ran.stdout, r"(?m)^\S pass [1-9]")


if __name__ == "__main__":
    unittest.main()
