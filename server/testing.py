"""What the wire tests share: a real server process, and raw sockets to it."""

import contextlib
import functools
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import typing
import unittest

# Hundreds of clients live in this process, and each needs a descriptor.
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

BINARY = os.environ["IDLEWHEEL_SERVER"]
# The transport that the servers of this run use: CTest runs these tests with each.
IO = os.environ.get("IDLEWHEEL_IO", "epoll")
NO_RING = "io_uring is not available"
READY = re.compile(
    r"listening on http://(?P<host>\S+):(?P<port>\d+) backend=(?P<backend>\S+) rearm=(?P<rearm>\S+)"
    r" threads=(?P<threads>\d+) io=(?P<io>\S+)(?: admin=http://(?P<admin_host>\S+):(?P<admin>\d+))?$"
)
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
GET_OF_WRK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:4242\r\n\r\n"
LOG_LINE = r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1:\d+ "(.*)" (\d+) (\d+)$'
# Without any answer for so many seconds the server hangs, even on a slow machine.
PATIENCE_S = 20


def needs(program: str):
    """Skips a test on a machine without a program that it runs."""
    return unittest.skipUnless(shutil.which(program), f"needs {program} (scripts/setup installs it)")


def backends() -> list[str]:
    """Every backend but `none`, which has no timeouts to test."""
    listing = subprocess.run(
        [BINARY, "--list-timer-backends"], capture_output=True, text=True, check=True
    )
    names = [line.split("\t")[0] for line in listing.stdout.splitlines()]
    return [name for name in names if name != "none"]


@functools.cache
def has_ring() -> bool:
    """Whether this machine and this build have io_uring. The server asks for it before it finds that
    the address, which is for documentation, is none of this machine's."""
    return NO_RING not in run("--port=0", "--io=io_uring", "--address=192.0.2.1").stderr


@contextlib.contextmanager
def at_work(clients: list):
    """Runs threads that work until their `stopped` is true; ends them in any case."""
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stopped = True
        for client in clients:
            client.join()


def wait_for(condition):
    """Polls until the condition holds, and returns what it has returned then."""
    limit = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.01)
    return result


class Server:
    """A server process on free ports, as a context manager that leaves nothing running."""

    def __init__(self, *flags: str, exit_code: int = 0, environment: dict[str, str] | None = None,
                 under: tuple[str, ...] = (), stdout: int = subprocess.PIPE,
                 ready_line_from: typing.TextIO | None = None, io: str = IO, **popen):
        """`under` is a command that runs the server: a tool of valgrind, for example. Whoever gives
        the server another standard output than a pipe says where the line on it can be read."""
        self.exit_code = exit_code
        self.process = subprocess.Popen(
            [*under, BINARY, "--port", "0", "--admin-port", "0", "--io", io, *flags],
            env={**os.environ, **(environment or {})},
            stdout=stdout,
            stderr=popen.pop("stderr", subprocess.PIPE),
            text=True,
            **popen,
        )
        line = (ready_line_from or self.process.stdout).readline().rstrip("\n")
        self.ready = READY.match(line)
        if not self.ready:
            self.process.kill()
            errors = self.process.communicate()[1]
            if io == "io_uring" and NO_RING in errors:
                raise unittest.SkipTest(errors[errors.index(NO_RING):].strip())
            raise AssertionError(f"no ready line: {line!r} {errors}")
        self.port = int(self.ready["port"])
        self.admin_port = int(self.ready["admin"])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, failed, *_):
        try:
            code = self.stop()
        finally:
            for pipe in (self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()
        if failed is None and code != self.exit_code:
            raise AssertionError(f"exit code {code}: {self.errors}")

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sent)
        try:
            _, self.errors = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError("the server did not stop") from None
        return self.process.returncode

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def admin(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def stats(self) -> dict:
        status, body = self.admin("/stats")
        assert status == 200, body
        return json.loads(body)

    def dropped_log_lines(self) -> int:
        """How many lines of the access log the server says that it has dropped."""
        _, metrics = self.admin("/metrics")
        return int(re.search(r"(?m)^idlewheel_access_log_lines_dropped_total\S* (\d+)$", metrics)[1])

    def begin_drain(self, sent: signal.Signals = signal.SIGTERM):
        """Asks the server to end, and returns once it drains."""
        self.process.send_signal(sent)
        wait_for(lambda: self.admin("/readyz")[0] == 503)

    def wait_for_stats(self, condition) -> dict:
        """Polls /stats until the condition holds; counters change a moment after the wire does."""
        limit = time.monotonic() + PATIENCE_S
        while not condition(stats := self.stats()):
            if time.monotonic() > limit:
                raise AssertionError(f"the counters never got there: {stats}")
            time.sleep(0.01)
        return stats


class ServiceManager:
    """Listens to what a server tells its service manager, as systemd does. A context manager."""

    def __init__(self, abstract: bool = False, **environment: str):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path if abstract else path)
        self.socket.settimeout(PATIENCE_S)
        self.environment = {"NOTIFY_SOCKET": "@" + path if abstract else path, **environment}

    def __enter__(self) -> "ServiceManager":
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.folder.cleanup()

    def message(self) -> dict[str, str]:
        """The assignments of the next message."""
        lines = self.socket.recv(65536).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def wait_for(self, name: str) -> dict[str, str]:
        """The next message that has this assignment."""
        while name not in (message := self.message()):
            pass
        return message


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: h", *fields, "", ""]).encode() + body


def post(*fields: str, body: bytes = b"") -> bytes:
    return request("POST /echo HTTP/1.1", *fields, body=body)


def chunked(body: bytes, *fields: str) -> bytes:
    return post("Transfer-Encoding: chunked", *fields, body=body)


def read_to_end(client: socket.socket) -> bytes:
    """All bytes until FIN. A reset raises ConnectionResetError."""
    data = bytearray()
    while piece := client.recv(1 << 20):
        data += piece
    return bytes(data)


def exchange(server: Server, request: bytes) -> bytes:
    """Sends bytes and FIN on a new connection, and returns all that comes back."""
    with server.connect() as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return read_to_end(client)


class Response:
    def __init__(self, status: int, fields: dict[str, str], body: bytes):
        self.status = status
        self.fields = fields
        self.body = body


def split_responses(data: bytes, heads: int = 0) -> list[Response]:
    """Cuts a byte stream into responses; the first `heads` of them answer HEAD and have no body."""
    responses = []
    while data:
        header, _, data = data.partition(b"\r\n\r\n")
        status_line, *lines = header.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        fields = {name.lower(): value for name, value in fields.items()}
        assert len(fields) == len(lines), f"a field came twice: {lines}"
        size = int(fields.get("content-length", 0)) if len(responses) >= heads else 0
        responses.append(Response(int(status_line.split(" ")[1]), fields, data[:size]))
        assert len(responses[-1].body) == size, "a body was cut short"
        data = data[size:]
    return responses


def lines_of(file: str) -> list[str]:
    with open(file) as text:
        return text.read().splitlines()


def run(*flags: str) -> subprocess.CompletedProcess:
    """Runs a server that is expected to end by itself."""
    return subprocess.run([BINARY, *flags], capture_output=True, text=True, timeout=PATIENCE_S)


class WireTest(unittest.TestCase):
    """One server for all tests of a class."""

    FLAGS: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.FLAGS)
        cls.addClassCleanup(cls.server.__exit__, None)

    def responses(self, request: bytes, heads: int = 0) -> list[Response]:
        return split_responses(exchange(self.server, request), heads)

    def statuses(self, request: bytes) -> list[int]:
        return [response.status for response in self.responses(request)]


class StrictTest(WireTest):
    """A server with small limits, and requests that it must refuse or serve."""

    FLAGS = ("--max-header-bytes=1000", "--max-headers=10", "--max-body-bytes=100")

    def assert_refused(self, bad: bytes, status: int = 400):
        """The request before is answered, the bad one gets one error, and the server ends the
        connection first. Nothing after the bad request is parsed as a request."""
        with self.subTest(bad=bad), self.server.connect() as client:
            client.sendall(GET + bad + GET)
            responses = split_responses(read_to_end(client))
            self.assertEqual([r.status for r in responses], [200, status])
            self.assertEqual(responses[-1].fields["connection"], "close")

    def assert_served(self, good: bytes, status: int = 200):
        with self.subTest(good=good):
            self.assertEqual(self.statuses(GET + good + GET), [200, status, 200])
