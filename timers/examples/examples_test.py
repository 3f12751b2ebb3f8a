"""The examples run and do what they are for."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

FOLDER = pathlib.Path(os.environ["EXAMPLES"])
PATIENCE_S = 20  # less than the timeout of the client
IDLE_MS = 300
DESCRIPTORS = 16
CLIENTS = 20
NO_RING = "io_uring is not available"

ECHO = (b"hello", b"hello")
HTTP = (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200 OK\r\n")
WEBSOCKET = (b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
             b"HTTP/1.1 101 Switching Protocols\r\n")


@dataclasses.dataclass(frozen=True)
class Server:
    exchange: tuple[bytes, bytes]  # what it is asked, and how its answer begins
    before: tuple[str, ...] = ()   # its arguments before the port, and behind it, with a timeout
    timed: tuple[str, ...] = ()
    most: int = 1                  # how many arguments it takes at most
    unix: bool = False             # has a path in place of a port
    tls: bool = False


def ring_is_forbidden() -> dict[str, str]:
    """Why this machine cannot run the example of io_uring; empty if it can."""
    # The port is in use, so the program ends in any case.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = subprocess.run([FOLDER / "loop_io_uring", str(taken.getsockname()[1])],
                              capture_output=True, text=True).stderr
    return {"loop_io_uring": said.strip()} if said.startswith(NO_RING) else {}


SERVERS = {
    "echo_server": Server(ECHO),
    "beast_tcp_stream": Server(HTTP),
    "beast_idlewheel": Server(HTTP),
    "reload_timeouts": Server(ECHO, before=("FILE",), most=2),
    "http_server_async": Server(HTTP, timed=("3", str(IDLE_MS)), most=3),
    "http_server_async_stock": Server(HTTP, timed=("3", str(IDLE_MS)), most=3),
    "http_server_ssl": Server(HTTP, timed=("3", str(IDLE_MS)), most=4, tls=True),
    "websocket_echo": Server(WEBSOCKET, timed=(str(IDLE_MS),), most=2),
    "http_unix": Server(HTTP, timed=(str(IDLE_MS),), most=2, unix=True),
    "coroutines": Server(ECHO, timed=(str(IDLE_MS),), most=2),
    **{f"loop_{loop}": Server(ECHO, timed=(str(IDLE_MS),), most=2)
       for loop in ("epoll", "libuv", "libev", "io_uring", "standalone_asio")},
}
WITHOUT = {name: "built without it" for name in os.environ.get("EXAMPLES_WITHOUT", "").split()}
if "loop_io_uring" not in WITHOUT:
    WITHOUT |= ring_is_forbidden()
for name in WITHOUT:
    del SERVERS[name]
if os.environ.get("EXAMPLES_WITHOUT_TLS"):
    del SERVERS["http_server_ssl"]
TIMED = [name for name, server in SERVERS.items() if server.timed]
HTTP_SERVERS = [name for name, server in SERVERS.items() if server.exchange == HTTP]
PORTS = [name for name, server in SERVERS.items() if not server.unix]


def cpu_seconds(process: subprocess.Popen) -> float:
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def rest(client: socket.socket) -> bytes:
    """What comes until the other end closes the connection."""
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def each(programs):
    """The test is done for each of these."""
    def decorator(test):
        @functools.wraps(test)
        def tests(self):
            for program in programs:
                with self.subTest(program):
                    test(self, program)
        return tests
    return decorator


class Examples(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.scratch / "timeout").write_text("3600000")

    def launch(self, program: str, *arguments: str, **settings) -> subprocess.Popen:
        process = subprocess.Popen([FOLDER / program, *arguments], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **settings)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def before(self, program: str) -> list[str]:
        return [str(self.scratch / "timeout") for _ in SERVERS[program].before]

    def free_address(self, program: str) -> str:
        return str(self.scratch / f"{program}.socket") if SERVERS[program].unix else "0"

    def serve(self, program: str, *behind: str, **settings) -> tuple[subprocess.Popen, str]:
        """The program on a free port or path, and that."""
        process = self.launch(program, *self.before(program), self.free_address(program), *behind,
                              **settings)
        said = process.stdout.readline().strip()
        return process, re.fullmatch(r"\w+ on (?:127\.0\.0\.1:)?(\S+)", said)[1]

    def connect(self, program: str, address: str) -> socket.socket:
        if SERVERS[program].unix:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE_S)
            client.connect(address)
        else:
            client = socket.create_connection(("127.0.0.1", int(address)), timeout=PATIENCE_S)
        if SERVERS[program].tls:
            client = trusting().wrap_socket(client, do_handshake_on_connect=False)
        self.addCleanup(client.close)
        return client

    def start(self, program: str, *behind: str) -> tuple[subprocess.Popen, socket.socket]:
        """The program, on a free port or path, and a client that is connected to it."""
        process, address = self.serve(program, *behind)
        return process, self.connect(program, address)

    def assert_served(self, client: socket.socket, program: str):
        asked, answer = SERVERS[program].exchange
        client.sendall(asked)
        self.assertTrue(client.recv(65536).startswith(answer))

    def assert_ends(self, process: subprocess.Popen, code: int, out: str, error: str):
        self.assertEqual((*process.communicate(timeout=PATIENCE_S), process.returncode),
                         (out, error, code))

    @each([name for name in SERVERS if SERVERS[name].exchange == ECHO])
    def test_the_echo_servers(self, program):
        _, client = self.start(program)
        for text in (b"hello", b"again"):
            client.sendall(text)
            self.assertEqual(client.recv(65536), text)

    @each(HTTP_SERVERS)
    def test_the_http_servers_keep_connections_and_close_them_when_asked(self, program):
        _, client = self.start(program)
        self.assert_served(client, program)
        self.assert_served(client, program)
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = rest(client)
        self.assertTrue(answer.startswith(HTTP[1]), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)

    @each([name for name in HTTP_SERVERS if not SERVERS[name].tls])
    def test_the_http_servers_notice_the_end_of_requests(self, program):
        _, client = self.start(program)
        self.assert_served(client, program)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(rest(client), b"")

    def test_the_websocket_server_echoes_messages(self):
        process, client = self.start("websocket_echo")
        self.assert_served(client, "websocket_echo")
        for first_byte in (b"\x81", b"\x82"):  # text, binary
            mask, masked = b"\1\2\3\4", bytes(a ^ b for a, b in zip(b"hello", b"\1\2\3\4\1"))
            client.sendall(first_byte + b"\x85" + mask + masked)
            self.assertEqual(client.recv(65536), first_byte + b"\x05hello")

    @each(TIMED)
    def test_an_idle_connection_is_closed_after_its_timeout_and_not_before(self, program):
        _, client = self.start(program, *SERVERS[program].timed)
        if SERVERS[program].tls:
            client.do_handshake()
        before = time.monotonic()
        self.assert_served(client, program)
        goodbye = b"too slow\n" if program == "coroutines" else b""
        self.assertEqual(rest(client), goodbye)  # each step within PATIENCE_S
        self.assertGreaterEqual(time.monotonic() - before, IDLE_MS / 1000)

    @each(TIMED)
    def test_a_connection_on_which_nothing_ever_comes_is_closed(self, program):
        _, address = self.serve(program, *SERVERS[program].timed)
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(
                socket.socket(socket.AF_UNIX if SERVERS[program].unix else socket.AF_INET))
            client.settimeout(PATIENCE_S)
            client.connect(address if SERVERS[program].unix else ("127.0.0.1", int(address)))
            self.assertEqual(rest(client), b"too slow\n" if program == "coroutines" else b"")

    @each([name for name in TIMED if SERVERS[name].most >= 3])
    def test_threads_serve_some_while_they_time_out_others(self, program):
        process, address = self.serve(program, *SERVERS[program].timed)
        silent = [self.connect(program, address) for _ in range(CLIENTS)]
        for _ in range(3):
            busy = []
            for _ in range(CLIENTS):  # each asks at once, before its own timeout
                busy.append(self.connect(program, address))
                busy[-1].sendall(HTTP[0])
            for client in busy:
                self.assertTrue(client.recv(65536).startswith(HTTP[1]))
        for client in silent:
            raw = socket.socket(fileno=client.detach())
            self.addCleanup(raw.close)
            raw.settimeout(PATIENCE_S)
            self.assertEqual(rest(raw), b"")
        self.assertIsNone(process.poll())

    @each(TIMED)
    def test_a_signal_ends_them_with_connections_open(self, program):
        for number in (signal.SIGTERM, signal.SIGINT):
            process, address = self.serve(program)
            clients = [self.connect(program, address) for _ in range(4)]
            for client in clients[:3]:
                self.assert_served(client, program)
            process.send_signal(number)
            self.assert_ends(process, 0, "", "")
            self.assertFalse(SERVERS[program].unix and os.path.exists(address))

    def test_each_event_loop_has_its_server(self):
        for name, why in WITHOUT.items():
            with self.subTest(name):
                self.skipTest(why)

    def test_a_timeout_that_is_read_anew_reaches_open_connections(self):
        process, client = self.start("reload_timeouts")
        self.assert_served(client, "reload_timeouts")
        self.assertEqual(process.stdout.readline(), "1 open\n")
        (self.scratch / "timeout").write_text("20")
        process.send_signal(signal.SIGHUP)
        self.assertEqual(client.recv(65536), b"")  # within PATIENCE_S, not an hour
        while process.stdout.readline() != "0 open\n":
            self.assertIsNone(process.poll())

    def test_the_client_ends_when_it_has_its_answer_and_not_when_its_timeout_is_over(self):
        _, port = self.serve("http_server_async")
        for host in ("127.0.0.1", "localhost"):
            self.assert_ends(self.launch("http_client", host, port), 0, "200 OK\nhello\n", "")

    def test_the_client_does_not_wait_for_ever(self):
        silent = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        port = silent.getsockname()[1]
        before = time.monotonic()
        process = self.launch("http_client", "127.0.0.1", str(port), "/x", str(IDLE_MS))
        self.assert_ends(process, 1, "", f"cannot get http://127.0.0.1:{port}/x: The socket was "
                                         "closed due to a timeout\n")
        self.assertGreaterEqual(time.monotonic() - before, IDLE_MS / 1000)

    def test_the_client_says_in_one_line_what_went_wrong(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self.assert_ends(self.launch("http_client", "127.0.0.1", str(port)), 1, "",
                         f"cannot get http://127.0.0.1:{port}/: Connection refused\n")
        usage = "usage: http_client HOST PORT [TARGET] [TIMEOUT_MS]\n"
        for arguments in ([], ["h"], ["h", "1", "/", "1", "x"]):
            self.assert_ends(self.launch("http_client", *arguments), 2, "", usage)

    @unittest.skipIf("http_server_ssl" not in SERVERS, "built without OpenSSL")
    def test_a_certificate_may_be_given(self):
        self.assertIsNotNone(shutil.which("openssl"), "Debian's package openssl has it")
        pem = self.scratch / "pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", pem, "-out",
                        self.scratch / "certificate", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        pem.write_text(pem.read_text() + (self.scratch / "certificate").read_text())
        _, port = self.serve("http_server_ssl", "1", "30000", str(pem))
        verifying = ssl.create_default_context(cafile=pem)
        with socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE_S) as plain, \
                verifying.wrap_socket(plain, server_hostname="localhost") as client:
            self.assert_served(client, "http_server_ssl")
        for bad in ("/dev/null", "/does/not/exist"):
            process = self.launch("http_server_ssl", "0", "1", "30000", bad)
            out, error = process.communicate(timeout=PATIENCE_S)
            self.assertEqual((process.returncode, out), (1, ""))
            self.assertRegex(error, rf"\Ano certificate with its key in {bad}: [^\n]+\n\Z")

    @each(SERVERS)
    def test_out_of_descriptors_they_pause_and_go_on(self, program):
        limit = (DESCRIPTORS, DESCRIPTORS)
        process, address = self.serve(
            program, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        clients = [self.connect(program, address) for _ in range(CLIENTS)]
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

    def assert_refused(self, program: str, *arguments: str):
        with self.subTest(program=program, arguments=arguments):
            process = self.launch(program, *arguments)
            out, error = process.communicate(timeout=PATIENCE_S)
            self.assertEqual((process.returncode, out), (2, ""))
            self.assertRegex(error, rf"\A(usage: {program.removesuffix('_stock')} |'.*' is not a [^\n]* \(\d+ to \d+\)$)"
                                    r"[^\n]*\n\Z")

    def test_bad_arguments_are_refused_in_one_line(self):
        for program, server in SERVERS.items():
            before = self.before(program)
            self.assert_refused(program, *before, *["0"] * (server.most + 1 - len(before)))
            for number in ("x", "", "-1", "80x", "99999999999999999999"):
                if not server.unix:
                    self.assert_refused(program, *before, number)
                # The threads, if it has some, and the timeout.
                for at in range(len(server.timed)):
                    behind = [*server.timed[:at], number]
                    self.assert_refused(program, self.free_address(program), *behind)
                    self.assert_refused(program, self.free_address(program), *behind[:-1], "0")
            if not server.unix:
                self.assert_refused(program, *before, "65536")
        self.assert_refused("reload_timeouts")
        self.assert_refused("http_unix")

    def test_a_file_without_a_timeout_is_refused_in_one_line(self):
        for path in ("/does/not/exist", "/", "/dev/null"):
            self.assert_ends(self.launch("reload_timeouts", path, "0"), 1, "",
                             f"{path} must hold a number of milliseconds\n")

    def test_an_address_in_use_is_said_in_one_line(self):
        taken = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        port = str(taken.getsockname()[1])
        for program in PORTS:
            with self.subTest(program):
                self.assert_ends(self.launch(program, *self.before(program), port), 1, "",
                                 f"cannot listen on port {port}: Address already in use\n")
        path = self.scratch / "taken"
        path.write_text("mine")
        self.assert_ends(self.launch("http_unix", str(path)), 1, "",
                         f"cannot listen on {path}: Address already in use\n")
        self.assertEqual(path.read_text(), "mine")
        self.assert_ends(self.launch("http_unix", "x" * 200), 1, "",
                         "File name too long\n")

    @each(SERVERS)
    def test_resets_and_broken_pipes_do_not_end_them(self, program):
        process, address = self.serve(program)
        for _ in range(20):
            client = self.connect(program, address)
            client.sendall(SERVERS[program].exchange[0] * 5)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        process.send_signal(signal.SIGPIPE)
        self.assert_served(self.connect(program, address), program)
        self.assertIsNone(process.poll())


if __name__ == "__main__":
    unittest.main()
