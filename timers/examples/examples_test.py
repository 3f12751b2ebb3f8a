"""The examples run and do what they are for."""

import os
import pathlib
import re
import socket
import subprocess
import unittest

FOLDER = pathlib.Path(os.environ["EXAMPLES"])
PATIENCE_S = 20


class Examples(unittest.TestCase):
    def answer(self, program: str, sent: bytes) -> bytes:
        process = subprocess.Popen([FOLDER / program, "0"], stdout=subprocess.PIPE, text=True)
        try:
            port = int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
                client.sendall(sent)
                return client.recv(65536)
        finally:
            process.kill()
            process.communicate()

    def test_the_echo_server(self):
        self.assertEqual(self.answer("echo_server", b"hello"), b"hello")

    def test_the_http_servers(self):
        for program in ("beast_tcp_stream", "beast_idlewheel"):
            answer = self.answer(program, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)


if __name__ == "__main__":
    unittest.main()
