"""The examples run and do what they are for."""

import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

FOLDER = pathlib.Path(os.environ["EXAMPLES"])
PATIENCE_S = 20
ECHO = (b"hello", b"hello")
HTTP = (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200 OK\r\n")
# What each program is asked, and how its answer begins.
SERVERS = {"echo_server": ECHO, "beast_tcp_stream": HTTP, "beast_idlewheel": HTTP,
           "reload_timeouts": ECHO}
DESCRIPTORS = 16
CLIENTS = 20


def cpu_seconds(process: subprocess.Popen) -> float:
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Examples(unittest.TestCase):
    def setUp(self):
        file = tempfile.NamedTemporaryFile("w", suffix=".timeout")
        self.addCleanup(file.close)
        file.write("3600000")
        file.flush()
        self.arguments = {"reload_timeouts": [file.name]}

    def launch(self, program: str, *arguments: str, **settings) -> subprocess.Popen:
        process = subprocess.Popen([FOLDER / program, *arguments], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **settings)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def serve(self, program: str, **settings) -> tuple[subprocess.Popen, int]:
        """The program on a free port, and the port."""
        process = self.launch(program, *self.arguments.get(program, []), "0", **settings)
        return process, int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])

    def connect(self, port: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.addCleanup(client.close)
        return client

    def start(self, program: str, *arguments) -> tuple[subprocess.Popen, socket.socket]:
        """The program, on a free port, and a client that is connected to it."""
        if arguments:
            self.arguments[program] = list(arguments)
        process, port = self.serve(program)
        return process, self.connect(port)

    def assert_served(self, client: socket.socket, program: str):
        asked, answer = SERVERS[program]
        client.sendall(asked)
        self.assertTrue(client.recv(65536).startswith(answer))

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

    def test_out_of_descriptors_they_pause_and_go_on(self):
        for program in SERVERS:
            with self.subTest(program):
                self.check_out_of_descriptors(program)

    def check_out_of_descriptors(self, program: str):
        limit = (DESCRIPTORS, DESCRIPTORS)
        process, port = self.serve(
            program, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        clients = [self.connect(port) for _ in range(CLIENTS)]
        self.assert_served(clients[0], program)
        self.assertEqual(process.stderr.readline(), "cannot accept a connection: Too many open "
                         "files; trying again every 100 ms\n")
        before = cpu_seconds(process)
        time.sleep(1)
        self.assertLess(cpu_seconds(process) - before, 0.15, "seconds of CPU time in a second")
        for client in clients[:CLIENTS - 2]:
            client.close()
        for client in clients[CLIENTS - 2:]:
            self.assert_served(client, program)  # within PATIENCE_S
        process.kill()
        self.assertEqual(process.communicate()[1], "", "it said so more than once")

    def test_bad_arguments_are_refused_in_one_line(self):
        for program in SERVERS:
            before = self.arguments.get(program, [])
            for bad in (["x"], [""], ["-1"], ["65536"], ["80x"], ["99999999999999999999"],
                        ["1", "2"]):
                with self.subTest(program=program, arguments=bad):
                    process = self.launch(program, *before, *bad)
                    out, error = process.communicate(timeout=PATIENCE_S)
                    self.assertEqual((process.returncode, out), (2, ""))
                    self.assertRegex(error, r"\A(usage: |'.*' is not a port)[^\n]*\n\Z")
        process = self.launch("reload_timeouts")
        self.assertEqual(process.communicate(timeout=PATIENCE_S)[1],
                         "usage: reload_timeouts FILE [PORT]\n")

    def test_a_file_without_a_timeout_is_refused_in_one_line(self):
        for path in ("/does/not/exist", "/", "/dev/null"):
            process = self.launch("reload_timeouts", path, "0")
            self.assertEqual(process.communicate(timeout=PATIENCE_S)[1],
                             f"{path} must hold a number of milliseconds\n")
            self.assertEqual(process.returncode, 1)

    def test_a_port_in_use_is_said_in_one_line(self):
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        for program in SERVERS:
            with self.subTest(program):
                process = self.launch(program, *self.arguments.get(program, []), str(port))
                self.assertEqual(process.communicate(timeout=PATIENCE_S)[1],
                                 f"cannot listen on port {port}: Address already in use\n")
                self.assertEqual(process.returncode, 1)

    def test_resets_and_broken_pipes_do_not_end_them(self):
        for program in SERVERS:
            with self.subTest(program):
                process, port = self.serve(program)
                for _ in range(20):
                    client = self.connect(port)
                    client.sendall(SERVERS[program][0] * 5)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                process.send_signal(signal.SIGPIPE)
                self.assert_served(self.connect(port), program)
                self.assertIsNone(process.poll())


if __name__ == "__main__":
    unittest.main()
