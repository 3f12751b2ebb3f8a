"""The files of a log: descriptors of the process, named pipes, and files that are rotated."""

import array
import contextlib
import fcntl
import itertools
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import tempfile
import termios
import threading
import tty
import unittest

import testing
from testing import (GET, LOG_LINE, PATIENCE_S, Server, exchange, lines_of, request,
                     split_responses, wait_for)

# Lines that a pipe takes whole or not at all, and lines that are longer.
LENGTHS = (10, 6000)
SHORT_OR_LONG = (r'^\S{20} 127\.0\.0\.1:\d+ "GET /(%s) HTTP/1\.1" 404 \d+\n$'
                 % "|".join("x{%d}" % length for length in LENGTHS))


def send_short_and_long(server: Server):
    """Many requests by several clients at once."""
    def load(length: int):
        for _ in range(20):
            exchange(server, request("GET /" + "x" * length + " HTTP/1.1") * 100)
    clients = [threading.Thread(target=load, args=(length,)) for length in LENGTHS * 3]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


class Descriptors(unittest.TestCase):
    """The log goes to a descriptor that the server was started with."""

    NAMES = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

    def assert_logs(self, name: str, stdout: int, reader):
        """`reader` is a file whose lines are those of the server's standard output."""
        with Server("--access-log", name, stdout=stdout, ready_line_from=reader) as server:
            exchange(server, GET)
            server.stop()  # writes the lines that are gathered
            self.assertRegex(reader.readline(), LOG_LINE)

    def test_a_pipe(self):
        for name in self.NAMES:
            with self.subTest(name=name):
                read_end, write_end = os.pipe()
                with open(read_end) as reader, open(write_end, "w"):
                    self.assert_logs(name, write_end, reader)
                    self.assertFalse(fcntl.fcntl(write_end, fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_a_socket(self):
        for name in self.NAMES:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with self.subTest(name=name, kind=kind):
                    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
                    with ours, theirs, ours.makefile() as reader:
                        self.assert_logs(name, theirs.fileno(), reader)
                        self.assertFalse(fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_a_file(self):
        for name in self.NAMES:
            with self.subTest(name=name), tempfile.NamedTemporaryFile("w") as file, \
                    open(file.name) as reader:
                self.assert_logs_after_a_wait(name, file, reader)

    def assert_logs_after_a_wait(self, name: str, file, reader):
        process = subprocess.Popen([testing.BINARY, "--port=0", "--access-log", name], stdout=file,
                                   stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.getsize(file.name))
            port = int(testing.READY.match(reader.readline())["port"])
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
                client.sendall(GET)
                client.recv(65536)
        finally:
            process.terminate()
            self.assertEqual(process.wait(PATIENCE_S), 0)
        self.assertRegex(reader.readline(), LOG_LINE)

    def test_a_terminal(self):
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        with open(ours) as reader, open(theirs, "w"):
            for name in self.NAMES:
                with self.subTest(name=name):
                    self.assert_logs(name, theirs, reader)

    def test_a_link_to_standard_output(self):
        ours, theirs = socket.socketpair()
        with ours, theirs, ours.makefile() as reader, tempfile.TemporaryDirectory() as folder:
            link = os.path.join(folder, "access.log")
            os.symlink("/dev/stdout", link)
            self.assert_logs(link, theirs.fileno(), reader)

    def test_standard_error_and_any_other(self):
        for name in ("/dev/stderr", "/dev/fd/{}"):
            ours, theirs = socket.socketpair()
            with self.subTest(name=name), ours, theirs, ours.makefile() as reader:
                number = theirs.fileno()
                with Server("--access-log", name.format(number), "--log-level=off", stderr=number,
                            pass_fds=[number]) as server:
                    exchange(server, GET)
                    server.stop()
                    self.assertRegex(reader.readline(), LOG_LINE)

    def test_a_reader_that_stops_reading_or_goes_away_holds_up_nothing(self):
        for make in (self.pipe, lambda: socket.socketpair(), self.terminal):
            ours, theirs = make()
            with theirs, Server("--access-log", f"/dev/fd/{theirs.fileno()}", "--threads=2",
                                pass_fds=[theirs.fileno()]) as server:
                with ours:
                    wait_for(lambda: self.dropped_after_many(server))
                before = server.dropped_log_lines()
                wait_for(lambda: self.dropped_after_many(server) > before)

    def dropped_after_many(self, server: Server) -> int:
        self.assertEqual(len(split_responses(exchange(server, GET * 1000))), 1000)
        return server.dropped_log_lines()

    def pipe(self):
        read_end, write_end = os.pipe()
        return open(read_end), open(write_end, "w")

    def terminal(self):
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        return open(ours), open(theirs, "w")

    def test_what_is_always_full_holds_up_nothing(self):
        with Server("--access-log=/dev/full") as server:
            exchange(server, GET)
            wait_for(lambda: server.dropped_log_lines() == 1)

    def test_a_server_without_standard_descriptors_serves(self):
        """Their numbers must not become those of its sockets."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', testing.BINARY,
                                    f"--port={port}"])
        try:
            answer = wait_for(lambda: self.answer(port))
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        finally:
            process.terminate()
            self.assertEqual(process.wait(PATIENCE_S), 0)

    def test_a_full_standard_output_holds_up_nothing(self):
        """Not even the line that says where the server listens."""
        for make in (os.pipe, lambda: [each.detach() for each in socket.socketpair()]):
            ours, theirs = make()
            with open(ours), open(theirs, "wb", 0):
                self.fill(theirs)
                self.assert_serves(stdout=theirs)

    def fill(self, descriptor: int):
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(descriptor, b"." * 4096):
                pass
        os.set_blocking(descriptor, True)

    def assert_serves(self, stdout: int):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen([testing.BINARY, f"--port={port}", "--access-log=-",
                                   "--log-level=off"], stdout=stdout)
        try:
            answer = wait_for(lambda: self.answer(port))
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        finally:
            server.terminate()
            self.assertEqual(server.wait(PATIENCE_S), 0)

    def answer(self, port: int) -> bytes:
        with contextlib.suppress(ConnectionRefusedError), \
                socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            client.sendall(GET)
            return client.recv(65536)
        return b""


class NamedPipe(unittest.TestCase):
    def test_a_reader_may_come_late_and_come_back(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            with Server("--access-log", fifo) as server:
                for _ in range(2):
                    exchange(server, GET)
                    with open(fifo) as reader:
                        self.assertRegex(reader.readline(), LOG_LINE)

    def test_one_whose_reader_is_gone_holds_up_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            with Server("--access-log", fifo) as server:
                os.close(reader)
                exchange(server, GET)
                wait_for(lambda: server.dropped_log_lines() == 1)

    def test_reopening_keeps_what_the_pipe_holds_and_holds_more(self):
        for had_reader, signals in ((False, Rotation.SIGNALS[:1]), (True, Rotation.SIGNALS)):
            with self.subTest(had_reader=had_reader):
                self.assert_reopening_keeps(had_reader, signals)

    def assert_reopening_keeps(self, had_reader: bool, signals: tuple[signal.Signals, ...]):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) if had_reader else None
            with Server("--access-log", fifo) as server:
                exchange(server, GET)
                first = wait_for(lambda: self.held(fifo))
                if reader is not None:
                    os.close(reader)
                for sent in signals:
                    server.process.send_signal(sent)
                    self.assertIn("reopened", server.process.stderr.readline())
                exchange(server, GET)
                # Only when the second line is written or dropped may a reader come.
                wait_for(lambda: self.held(fifo) > first or server.dropped_log_lines())
                self.assertEqual(server.dropped_log_lines(), 0)
                with open(fifo) as late:
                    for _ in range(2):
                        self.assertRegex(late.readline(), LOG_LINE)

    def held(self, fifo: str) -> int:
        """How many bytes the pipe holds."""
        looking = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            size = array.array("i", [0])
            fcntl.ioctl(looking, termios.FIONREAD, size)
            return size[0]
        finally:
            os.close(looking)

    def test_long_lines_of_several_threads_stay_whole(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            with Server("--access-log", fifo, "--threads=2") as server, open(fifo) as reader:
                lines = []
                reading = threading.Thread(target=lambda: lines.extend(reader))
                reading.start()
                send_short_and_long(server)
                server.stop()
                reading.join()
        if not lines[-1].endswith("\n"):  # the pipe was full when the server ended
            lines.pop()
        self.assertFalse([line for line in lines if not re.match(SHORT_OR_LONG, line)])
        self.assertGreater(len(lines), 100)


class Rotation(unittest.TestCase):
    SIGNALS = (signal.SIGHUP, signal.SIGUSR1)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.join(folder.name, "logs")
        os.mkdir(self.folder)
        self.file = os.path.join(self.folder, "access.log")

    def reopen(self, server: Server, sent: signal.Signals):
        server.process.send_signal(sent)
        wait_for(lambda: os.path.exists(self.file))

    def test_after_a_rename_lines_go_to_a_new_file(self):
        for sent in self.SIGNALS:
            with self.subTest(signal=sent), Server("--access-log", self.file) as server:
                old = f"{self.file}.{sent}"
                exchange(server, GET)
                wait_for(lambda: lines_of(self.file))
                os.rename(self.file, old)
                self.reopen(server, sent)
                size = os.path.getsize(old)
                exchange(server, GET)
                wait_for(lambda: lines_of(self.file))
                self.assertEqual(os.path.getsize(old), size)
            os.remove(self.file)

    def test_after_a_removal_lines_go_to_a_new_file(self):
        for sent in self.SIGNALS:
            with self.subTest(signal=sent), Server("--access-log", self.file) as server:
                os.remove(self.file)
                self.reopen(server, sent)
                exchange(server, GET)
                wait_for(lambda: lines_of(self.file))
            os.remove(self.file)

    def test_under_load_no_line_is_lost(self):
        rotations, batches = 20, 40
        with Server("--access-log", self.file, "--threads=2") as server:
            def load():
                for _ in range(batches):
                    exchange(server, GET * 1000)
            clients = [threading.Thread(target=load) for _ in range(3)]
            for client in clients:
                client.start()
            for number in range(rotations):
                os.rename(self.file, f"{self.file}.{number}")
                self.reopen(server, self.SIGNALS[number % 2])
            for client in clients:
                client.join()
            self.assertEqual(server.dropped_log_lines(), 0)
        lines = [line for name in os.listdir(self.folder)
                 for line in lines_of(os.path.join(self.folder, name))]
        self.assertEqual(len(lines), len(clients) * batches * 1000)
        self.assertFalse([line for line in lines if not re.match(LOG_LINE, line)])

    def test_long_lines_of_several_threads_stay_whole_in_each_file(self):
        with Server("--access-log", self.file, "--threads=2") as server:
            load = threading.Thread(target=send_short_and_long, args=(server,))
            load.start()
            for number in itertools.count():
                os.rename(self.file, f"{self.file}.{number}")
                self.reopen(server, self.SIGNALS[number % 2])
                if not load.is_alive():
                    break
            self.assertEqual(server.dropped_log_lines(), 0)
        for name in os.listdir(self.folder):
            with open(os.path.join(self.folder, name)) as file:
                for line in file:
                    self.assertRegex(line, SHORT_OR_LONG)

    def test_a_failure_to_reopen_is_reported_without_control_characters(self):
        folder = os.path.join(self.folder, "a\n\x1b[31mb")
        os.mkdir(folder)
        with Server("--access-log", os.path.join(folder, "log")) as server:
            os.rename(folder, os.path.join(self.folder, "moved"))
            server.process.send_signal(signal.SIGHUP)
            self.assertIn("a??[31mb/log: No such file", server.process.stderr.readline())

    def test_one_that_cannot_be_reopened_stays_in_use(self):
        moved = os.path.join(os.path.dirname(self.folder), "moved")
        for sent, obstacle in zip(self.SIGNALS, (lambda: None, lambda: os.makedirs(self.file))):
            with self.subTest(signal=sent), Server("--access-log", self.file) as server:
                os.rename(self.folder, moved)
                obstacle()
                server.process.send_signal(sent)
                self.assertIn(f"cannot reopen {self.file}", server.process.stderr.readline())
                exchange(server, GET)
                wait_for(lambda: lines_of(os.path.join(moved, "access.log")))
                self.assertEqual(server.dropped_log_lines(), 0)
                server.stop()
                self.assertNotIn("cannot", server.errors)
            with contextlib.suppress(FileNotFoundError):
                os.removedirs(self.file)
            os.rename(moved, self.folder)
            os.remove(self.file)

    def test_standard_output_has_nothing_to_reopen(self):
        for sent in self.SIGNALS:
            with self.subTest(signal=sent), Server("--access-log=-") as server:
                server.process.send_signal(sent)
                exchange(server, GET)
                self.assertRegex(server.process.stdout.readline(), LOG_LINE)
                server.stop()
                self.assertIn("the access log has no file to reopen", server.errors)
                self.assertNotIn("reopened", server.errors)

    def test_a_line_that_was_cut_is_finished_before_the_next_file_is_opened(self):
        with Server("--access-log", self.file) as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                             (100, resource.RLIM_INFINITY))
            exchange(server, GET * 10)
            wait_for(lambda: server.dropped_log_lines() == 8)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.rename(self.file, self.file + ".1")
            self.reopen(server, signal.SIGHUP)
            exchange(server, GET)
            wait_for(lambda: lines_of(self.file))
            for line in lines_of(self.file + ".1") + lines_of(self.file):
                self.assertRegex(line, LOG_LINE)
            self.assertEqual(server.dropped_log_lines(), 8)


if __name__ == "__main__":
    unittest.main()
