"""Restarts with --reuse-port, without and with net.ipv4.tcp_migrate_req, which moves the connections
that a closing socket has not accepted. Each runs in a network namespace, because the setting is one of
the namespace."""

import functools
import json
import os
import subprocess
import sys
import unittest

# unittest_run.py knows these words: scripts/setup cannot bring what the machine refuses.
REFUSED = "a network namespace is not available"
# Root needs no user namespace, which a chroot does not allow.
AS_ROOT = [] if os.geteuid() == 0 else ["--map-root-user"]
IN_NAMESPACE = ["unshare", *AS_ROOT, "--net", sys.executable]
LIMIT_S = 120


@functools.cache
def refusal() -> str:
    """Why this machine does not let us have a namespace with this setting; empty if it does."""
    setting = "open('/proc/sys/net/ipv4/tcp_migrate_req', 'w').write('1')"
    ended = subprocess.run([*IN_NAMESPACE, "-c", setting], capture_output=True, text=True)
    return ended.stderr.strip().splitlines()[-1] if ended.returncode else ""


@unittest.skipIf(refusal(), f"{REFUSED}: {refusal()}")
class Migration(unittest.TestCase):
    def restarts(self, how: str, migrate: int) -> dict[str, int]:
        ended = subprocess.run([*IN_NAMESPACE, "restarts_in_namespace.py", how, str(migrate)],
                               capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return json.loads(ended.stdout)

    def assert_all_answered(self, counts: dict[str, int]):
        self.assertGreater(counts["answered"], 0)
        for how in ("refused", "reset", "closed", "forgotten"):
            self.assertEqual(counts[how], 0, counts)

    def test_a_drain_loses_nobody_but_some_must_repeat_their_first_packet(self):
        counts = self.restarts("drain", 0)
        self.assert_all_answered(counts)
        self.assertGreater(counts["repeated"], 0)

    def test_with_migration_a_drain_loses_nobody_and_nobody_repeats_a_packet(self):
        counts = self.restarts("drain", 1)
        self.assert_all_answered(counts)
        self.assertEqual(counts["repeated"], 0, counts)

    def test_a_crash_resets_the_connections_that_were_not_accepted(self):
        counts = self.restarts("crash", 0)
        self.assertGreater(counts["reset"], 0)
        self.assertEqual(counts["answered"] + counts["reset"], 64, counts)
        self.assertEqual(counts["migrated"], 0)

    def test_with_migration_another_server_answers_them_after_a_crash(self):
        counts = self.restarts("crash", 1)
        self.assert_all_answered(counts)
        self.assertGreater(counts["migrated"], 0)


if __name__ == "__main__":
    unittest.main()
