"""beast_timeouts serves requests with each way to keep timeouts, on one thread and on two."""

import contextlib
import os
import re
import socket
import subprocess
import unittest

PROGRAM = os.environ["BEAST_TIMEOUTS"]
KINDS = ("none", "stream", "wheel-stream", "idle", "timer", "wheel-timer", "rearm", "hand-cancel",
         "cancel")
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@contextlib.contextmanager
def serving(*arguments: str):
    with subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
        finally:
            server.kill()


class Serves(unittest.TestCase):
    def test_keep_alive_and_close(self):
        for kind in KINDS:
            for threads in "12":
                with self.subTest(kind=kind, threads=threads), serving(kind, threads) as port:
                    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                        for _ in range(3):
                            client.sendall(GET)
                            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200"))
                        client.sendall(GET.replace(b"1.1", b"1.0"))
                        answer = b"".join(iter(lambda: client.recv(4096), b""))
                        self.assertTrue(answer.startswith(b"HTTP/1.0 200"), answer)

    def test_bad_arguments(self):
        for arguments in ((), ("bogus",), ("none", "3"), ("none", "1", "more")):
            done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1))


if __name__ == "__main__":
    unittest.main()
