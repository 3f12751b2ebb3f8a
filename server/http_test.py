"""What the server says on the wire: routes, framing, pipelining, the write window."""

import random
import socket
import time
import unittest

from testing import Server, WireTest, exchange, read_to_end, split_responses

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: h", *fields, "", ""]).encode() + body


class Routes(WireTest):
    def test_root_is_an_empty_200(self):
        (response,) = self.responses(GET)
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.fields["content-length"], "0")
        self.assertRegex(response.fields["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
        self.assertNotIn("connection", response.fields)

    def test_bytes_gives_as_many_bytes(self):
        for size in (0, 1, 8191, 8192, 65536, 65537, 3_000_000):
            (response,) = self.responses(request(f"GET /bytes/{size} HTTP/1.1"))
            self.assertEqual((response.status, len(response.body)), (200, size))

    def test_bytes_that_is_not_a_number_is_not_found(self):
        for size in ("", "x", "-1", "1x", "99999999999999999999"):
            self.assertEqual(self.statuses(request(f"GET /bytes/{size} HTTP/1.1")), [404])

    def test_head_is_get_without_the_body(self):
        (response,) = self.responses(request("HEAD /bytes/12345 HTTP/1.1"), heads=1)
        self.assertEqual(response.fields["content-length"], "12345")

    def test_echo_gives_the_body_back(self):
        body = random.Random(1).randbytes(100_000)
        sized = request("POST /echo HTTP/1.1", f"Content-Length: {len(body)}", body=body)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:]))
        chunked = request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked",
                          body=chunks + b"0\r\n\r\n")
        for response in self.responses(sized + chunked):
            self.assertEqual((response.status, response.body), (200, body))

    def test_unknown_path_and_method(self):
        self.assertEqual(self.statuses(request("GET /nothing HTTP/1.1")), [404])
        self.assertEqual(self.statuses(request("BREW / HTTP/1.1")), [501])
        (response,) = self.responses(request("DELETE / HTTP/1.1"))
        self.assertEqual((response.status, response.fields["allow"]), (405, "GET, HEAD"))
        (response,) = self.responses(request("GET /echo HTTP/1.1"))
        self.assertEqual((response.status, response.fields["allow"]), (405, "POST"))
        self.assertEqual(self.statuses(request("OPTIONS * HTTP/1.1")), [200])

    def test_expect_continue_is_answered_before_the_body(self):
        with self.server.connect() as client:
            client.sendall(request("POST /echo HTTP/1.1", "Content-Length: 2",
                                   "Expect: 100-continue"))
            self.assertEqual(client.recv(65536), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(b"ok")
            self.assertTrue(client.recv(65536).endswith(b"\r\n\r\nok"))
        self.assertEqual(self.statuses(request("GET / HTTP/1.1", "Expect: tea")), [417])


class Persistence(WireTest):
    def test_connections_persist(self):
        with self.server.connect() as client:
            for _ in range(3):
                client.sendall(GET)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_bytes_after_a_last_request_are_ignored(self):
        responses = self.responses(request("GET / HTTP/1.1", "Connection: close") + GET)
        self.assertEqual([r.fields.get("connection") for r in responses], ["close"])

    def test_http_1_0_persists_only_on_request(self):
        (response,) = self.responses(b"GET / HTTP/1.0\r\n\r\n" * 2)
        self.assertEqual(response.fields["connection"], "close")
        responses = self.responses(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        self.assertEqual([r.fields["connection"] for r in responses], ["keep-alive"] * 2)

    def test_answers_are_delivered_to_a_half_closed_peer(self):
        self.assertEqual(self.statuses(GET * 5), [200] * 5)
        (response,) = self.responses(request("GET /bytes/5000000 HTTP/1.1"))
        self.assertEqual(len(response.body), 5_000_000)


class BadRequests(WireTest):
    FLAGS = ("--max-header-bytes=1000", "--max-headers=10", "--max-body-bytes=100")

    def assert_refused(self, bad: bytes, status: int = 400):
        """One error, then the end: nothing behind it is taken for a request."""
        responses = self.responses(GET + bad + GET)
        self.assertEqual([r.status for r in responses], [200, status], bad)
        self.assertEqual(responses[-1].fields["connection"], "close")

    def test_request_lines(self):
        for line in ("GET /", "GET  / HTTP/1.1", "GET\t/ HTTP/1.1", " GET / HTTP/1.1", "/ HTTP/1.1",
                     "GET / http/1.1", "GET / HTTP/1.1 ", "GET / HTTP/1.", "GET /\x00 HTTP/1.1"):
            self.assert_refused(request(line))

    def test_fields(self):
        for field in ("no colon", "Name : x", ": x", " Name: x", "Name: a\x00b", "Name: a\r\n b",
                      "Host: again", "Name: x\nOther: y"):
            self.assert_refused(request("GET / HTTP/1.1", field))

    def test_no_host(self):
        self.assert_refused(b"GET / HTTP/1.1\r\n\r\n")

    def test_a_tls_hello(self):
        self.assertEqual(self.statuses(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), [400])

    def test_content_length(self):
        for value in ("+5", "-1", "0x5", "5 5", "1_0", "", "99999999999999999999", "5, 5"):
            self.assert_refused(request("POST /echo HTTP/1.1", f"Content-Length: {value}"))
        self.assert_refused(
            request("POST /echo HTTP/1.1", "Content-Length: 0", "Content-Length: 0"))

    def test_content_length_with_transfer_encoding(self):
        both = ("Content-Length: 4", "Transfer-Encoding: chunked")
        for fields in (both, both[::-1]):
            self.assert_refused(request("POST /echo HTTP/1.1", *fields, body=b"0\r\n\r\n"))

    def test_transfer_encoding_other_than_chunked(self):
        for value in ("gzip", "identity", "chunked, identity", "xchunked", ""):
            self.assert_refused(
                request("POST /echo HTTP/1.1", f"Transfer-Encoding: {value}"), 501)
        self.assertEqual(self.statuses(
            b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), [400])

    def test_chunks(self):
        for chunk in (b"+1\r\na\r\n", b"0x1\r\na\r\n", b" 1\r\na\r\n", b"1\r\nab\r\n", b"1\na\r\n",
                      b"11111111111111111\r\n"):
            with self.subTest(chunk=chunk):
                statuses = self.statuses(request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked",
                                                 body=chunk) + b"0\r\n\r\n" + GET)
                self.assertIn(statuses, ([400], [413]))

    def test_limits(self):
        self.assert_refused(request("GET / HTTP/1.1", "A: " + "x" * 1000), 431)
        self.assert_refused(request("GET /" + "x" * 1000 + " HTTP/1.1"), 414)
        self.assert_refused(request("GET / HTTP/1.1", *["A: b"] * 10), 431)
        self.assert_refused(request("POST /echo HTTP/1.1", "Content-Length: 101"), 413)
        self.assert_refused(request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked",
                                    body=b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"), 413)

    def test_exactly_at_the_limits(self):
        bare = request("GET / HTTP/1.1", "A: ")
        self.assertEqual(self.statuses(request("GET / HTTP/1.1", "A: " + "x" * (1000 - len(bare)))),
                         [200])
        self.assertEqual(self.statuses(request("GET / HTTP/1.1", *["A: b"] * 9)), [200])
        self.assertEqual(self.statuses(
            request("POST /echo HTTP/1.1", "Content-Length: 100", body=b"x" * 100)), [200])

    def test_a_last_chunk_in_pieces(self):
        """Beast asserts five bytes of it where it has seen three."""
        for pieces in ((b"0\r\n", b"\r", b"\n"), (b"0\r\n", b"A", b": b\r\n\r\n"),
                       (b"0", b"\r", b"\n\r\n")):
            with self.subTest(pieces=pieces), self.server.connect() as client:
                client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                for piece in pieces:
                    time.sleep(0.02)
                    client.sendall(piece)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))

    def test_an_endless_chunk_extension(self):
        statuses = self.statuses(request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked",
                                         body=b"1;" + b"x" * 100_000))
        self.assertEqual(statuses, [431])


class Fragments(WireTest):
    PIPELINE = (b"\r\n" + GET + request("POST /echo HTTP/1.1", "Content-Length: 3", body=b"abc") +
                request("POST /echo HTTP/1.1", "Transfer-Encoding: chunked",
                        body=b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: t\r\n\r\n") +
                request("GET /bytes/10 HTTP/1.1", "Connection: close"))

    def answers(self, pieces: list[bytes]) -> list[tuple[int, bytes]]:
        with self.server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
            return [(r.status, r.body) for r in split_responses(read_to_end(client))]

    EXPECTED = [(200, b""), (200, b"abc"), (200, b"abc"), (200, b"x" * 10)]

    def test_split_at_every_position(self):
        for at in range(len(self.PIPELINE)):
            self.assertEqual(self.answers([self.PIPELINE[:at], self.PIPELINE[at:]]), self.EXPECTED)

    def test_a_byte_at_a_time(self):
        pieces = [bytes([byte]) for byte in self.PIPELINE]
        self.assertEqual(self.answers(pieces), self.EXPECTED)


class WriteWindow(unittest.TestCase):
    COUNT = 1000

    def writes(self, *flags: str) -> tuple[int, int]:
        """System calls and bytes that it took to answer a thousand requests sent at once."""
        with Server(*flags) as server:
            statuses = [r.status for r in split_responses(exchange(server, GET * self.COUNT))]
            self.assertEqual(statuses, [200] * self.COUNT)
            stats = server.stats()
            return stats["writes"], stats["bytes_out"]

    def test_pipelined_responses_share_writes(self):
        writes, size = self.writes("--write-window-bytes=8KiB")
        reads = len(GET) * self.COUNT // 1024 + 1  # the least a read of a segment gives
        self.assertLessEqual(writes, -(-size // 8192) + 1 + reads)

    def test_a_larger_window_needs_fewer_writes(self):
        self.assertLess(self.writes("--write-window-bytes=64KiB")[0],
                        self.writes("--write-window-bytes=512")[0])

    def test_no_window_is_a_write_per_response(self):
        self.assertEqual(self.writes("--write-window-bytes=0")[0], self.COUNT)

    def test_half_a_request_does_not_hold_up_those_before_it(self):
        with Server() as server, server.connect() as client:
            client.sendall(GET * 3 + GET[:10])
            data = b""
            while data.count(b"HTTP/1.1 200") < 3:
                data += client.recv(65536)
            client.sendall(GET[10:])
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))


class BackPressure(unittest.TestCase):
    def test_a_reader_that_starts_late_gets_everything(self):
        with Server() as server, server.connect() as client:
            client.sendall(request("GET /bytes/20000000 HTTP/1.1") * 2 +
                           request("GET / HTTP/1.1", "Connection: close"))
            time.sleep(0.3)
            sizes = [len(r.body) for r in split_responses(read_to_end(client))]
            self.assertEqual(sizes, [20_000_000, 20_000_000, 0])


if __name__ == "__main__":
    unittest.main()
