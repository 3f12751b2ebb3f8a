"""The examples run and do what they are for."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import unittest

FOLDER = pathlib.Path(os.environ["EXAMPLES"])
PATIENCE_S = 20


class Examples(unittest.TestCase):
    def start(self, program: str, *arguments) -> tuple[subprocess.Popen, socket.socket]:
        """The program, on a free port, and a client that is connected to it."""
        process = subprocess.Popen([FOLDER / program, *arguments, "0"], stdout=subprocess.PIPE,
                                   text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        port = int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])
        client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.addCleanup(client.close)
        return process, client

    def answer(self, program: str, sent: bytes) -> bytes:
        _, client = self.start(program)
        client.sendall(sent)
        return client.recv(65536)

    def test_the_echo_server(self):
        self.assertEqual(self.answer("echo_server", b"hello"), b"hello")

    def test_the_http_servers(self):
        for program in ("beast_tcp_stream", "beast_idlewheel"):
            answer = self.answer(program, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)

    def test_a_timeout_that_is_read_anew_reaches_open_connections(self):
        with tempfile.NamedTemporaryFile("w", suffix=".timeout") as file:
            file.write("3600000")
            file.flush()
            process, client = self.start("reload_timeouts", file.name)
            client.sendall(b"hello")
            self.assertEqual(client.recv(65536), b"hello")
            self.assertEqual(process.stdout.readline(), "1 open\n")
            file.seek(0)
            file.truncate()
            file.write("20")
            file.flush()
            process.send_signal(signal.SIGHUP)
            self.assertEqual(client.recv(65536), b"")  # within PATIENCE_S, not an hour
            while process.stdout.readline() != "0 open\n":
                self.assertIsNone(process.poll())


if __name__ == "__main__":
    unittest.main()
