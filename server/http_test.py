"""What the server says on the wire: resources, persistence, framing, syntax, limits."""

import email.utils
import random
import time
import unittest

from testing import (GET, PATIENCE_S, Server, WireTest, exchange, post, read_to_end, request,
                     split_responses)


class Routes(WireTest):
    def test_root_is_an_empty_200(self):
        (response,) = self.responses(GET)
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.fields["content-length"], "0")
        self.assertEqual(response.fields["server"], "idlewheel")
        self.assertRegex(response.fields["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
        self.assertNotIn("connection", response.fields)

    def test_every_response_says_when_and_by_whom(self):
        dates = set()
        for asked in (GET, request("POST /echo HTTP/1.1", "Content-Length: 1", body=b"x"),
                      request("GET /nothing HTTP/1.1"), b"nonsense\r\n\r\n", GET):
            with self.subTest(asked=asked):
                earliest = int(time.time()) - 1  # the kernel's coarse clock may be a tick behind
                (response,) = self.responses(asked)
                seconds = range(earliest, int(time.time()) + 1)
                self.assertIn(response.fields["date"],
                              [email.utils.formatdate(second, usegmt=True) for second in seconds])
                self.assertEqual(response.fields["server"], "idlewheel")
                self.assertIn("content-length", response.fields)
                dates.add(response.fields["date"])
                time.sleep(0.3)
        self.assertGreater(len(dates), 1)

    def test_the_date_is_in_utc_whatever_the_zone(self):
        with Server(environment={"TZ": "EST5"}) as server:
            (response,) = split_responses(exchange(server, GET))
        date = email.utils.parsedate_to_datetime(response.fields["date"])
        self.assertAlmostEqual(date.timestamp(), time.time(), delta=PATIENCE_S)

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
        self.assertEqual((response.status, response.fields["allow"]), (405, "GET, HEAD, OPTIONS"))
        (response,) = self.responses(request("GET /echo HTTP/1.1"))
        self.assertEqual((response.status, response.fields["allow"]), (405, "POST, OPTIONS"))

    def test_options_of_every_resource_names_its_methods(self):
        """`OPTIONS / HTTP/1.0` is the health check that load balancers bring with them."""
        everything, readonly = "GET, HEAD, POST, OPTIONS", "GET, HEAD, OPTIONS"
        for target, allow in (("*", everything), ("http://h", everything), ("/", readonly),
                              ("http://h/", readonly), ("http://h?q", readonly), ("/?q", readonly),
                              ("/bytes/7", readonly), ("/echo", "POST, OPTIONS"),
                              ("HTTP://h:80/echo?q", "POST, OPTIONS")):
            for asked in (f"OPTIONS {target} HTTP/1.0\r\n\r\n".encode(),
                          request(f"OPTIONS {target} HTTP/1.1"),
                          request(f"OPTIONS {target} HTTP/1.1", "Content-Length: 2", body=b"{}")):
                with self.subTest(asked=asked):
                    (response,) = self.responses(asked)
                    self.assertEqual((response.status, response.body), (200, b""))
                    self.assertEqual(response.fields["allow"], allow)
                    self.assertEqual(response.fields["content-length"], "0")
        self.assertEqual(self.statuses(request("OPTIONS /nothing HTTP/1.1")), [404])

    def test_bodies_are_not_for_sniffing(self):
        """A browser must not take for a page what somebody has posted."""
        asked = (request("GET /bytes/9 HTTP/1.1"),
                 post("Content-Length: 6", body=b"<html>"),
                 post("Transfer-Encoding: chunked", body=b"1\r\n<\r\n0\r\n\r\n"))
        for response in [*self.responses(b"".join(asked)),
                         *self.responses(request("HEAD /bytes/9 HTTP/1.1"), heads=1)]:
            self.assertEqual(response.fields["content-type"], "application/octet-stream")
            self.assertEqual(response.fields["x-content-type-options"], "nosniff")
        for bodiless in (GET, request("GET /bytes/0 HTTP/1.1"), request("GET /nothing HTTP/1.1")):
            self.assertNotIn("content-type", self.responses(bodiless)[0].fields)

    def test_paths_that_are_encoded_differently_are_the_same(self):
        for path, size in (("/bytes/1%30", 10), ("/%62ytes/%37", 7), ("/%62%79%74%65%73/5?%20", 5),
                           ("http://h/%62ytes/3", 3)):
            (response,) = self.responses(request(f"GET {path} HTTP/1.1"))
            self.assertEqual((response.status, len(response.body)), (200, size))
        for path in ("/%65cho", "/ech%6f", "/ech%6F"):
            echoed = request(f"POST {path} HTTP/1.1", "Content-Length: 1", body=b"x")
            self.assertEqual(self.responses(echoed)[0].body, b"x")
        for path in ("/bytes%2F10", "/%2Fecho", "/echo%3F", "/%2565cho", "/%00"):
            self.assertEqual(self.statuses(request(f"GET {path} HTTP/1.1")), [404])

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
        (response,) = self.responses(b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n" * 2)
        self.assertEqual(response.fields["connection"], "close")
        responses = self.responses(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        self.assertEqual([r.fields["connection"] for r in responses], ["keep-alive"] * 2)

    def test_only_connection_decides_whether_it_persists(self):
        """Beast obeys Proxy-Connection, too. A client of HTTP/1.0 that reads to the end would hang."""
        for field in ("Proxy-Connection: close", "Proxy-Connection: keep-alive", "Keep-Alive: 1",
                      "Proxy-Connection: a;b", "pRoxy-cOnnection:close", "Upgrade: close",
                      "Keep-Alive: close", "Connection-Close: close"):
            with self.subTest(field=field):
                self.assertEqual(self.statuses(request("GET / HTTP/1.1", field) * 2), [200, 200])
                self.assertEqual(self.statuses(request("GET / HTTP/1.1", "Connection: keep-alive",
                                                       field) * 2), [200, 200])
                (response,) = self.responses(f"GET / HTTP/1.0\r\n{field}\r\n\r\n".encode() * 2)
                self.assertEqual(response.fields["connection"], "close")

    def test_answers_are_delivered_to_a_half_closed_peer(self):
        self.assertEqual(self.statuses(GET * 5), [200] * 5)
        (response,) = self.responses(request("GET /bytes/5000000 HTTP/1.1"))
        self.assertEqual(len(response.body), 5_000_000)


class Strict(WireTest):
    """What a server with small limits must refuse."""

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


def chunked(body: bytes, *fields: str) -> bytes:
    return post("Transfer-Encoding: chunked", *fields, body=body)


class Framing(Strict):
    """Where a body ends is never ambiguous."""

    def test_content_length_with_transfer_encoding_in_either_order(self):
        for coding in ("chunked", "gzip", "gzip, chunked", ""):
            both = ("Content-Length: 4", f"Transfer-Encoding: {coding}")
            for fields in (both, both[::-1]):
                self.assert_refused(post(*fields, body=b"0\r\n\r\n"))

    def test_a_transfer_coding_that_leaves_the_end_of_the_body_open(self):
        for value in ("gzip", "identity", "chunked, identity", "chunked, gzip", "xchunked", "",
                      "chunked, chunked", "chunked;q=1", "gzip, chunked, chunked", ",chunked",
                      "gzip chunked", "chunked,", "gzip, chunked, identity"):
            self.assert_refused(post(f"Transfer-Encoding: {value}"))

    def test_a_transfer_coding_that_is_not_known(self):
        for value in ("gzip, chunked", "gzip;q=1 ,Chunked", "identity, chunked", "a, b, chunked"):
            self.assert_refused(post(f"Transfer-Encoding: {value}", body=b"0\r\n\r\n"), 501)

    def test_transfer_encoding_given_twice(self):
        for second in ("chunked", "gzip"):
            self.assert_refused(chunked(b"0\r\n\r\n", f"Transfer-Encoding: {second}"))

    def test_transfer_encoding_in_http_1_0(self):
        self.assert_refused(b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_transfer_encoding_in_disguise(self):
        for field in ("Transfer-Encoding:\r\n chunked", "Transfer-Encoding: \r\n\tchunked",
                      "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked",
                      " Transfer-Encoding: chunked", "Transfer-Encoding: chunked\x00",
                      "Transfer-Encoding: \x0bchunked", "Transfer-\x00Encoding: chunked"):
            self.assert_refused(post(field, body=b"0\r\n\r\n"))

    def test_content_length_that_is_not_a_number(self):
        for value in ("+5", "-1", "0x5", "5 5", "1_0", "", "5, 5", "5,", "\u0665", "5.0", "five",
                      "9223372036854775809", "99999999999999999999", "5\r\n 5", "\r\n 5"):
            self.assert_refused(post(f"Content-Length: {value}"))

    def test_content_length_given_twice(self):
        for second in ("0", "1"):
            self.assert_refused(post("Content-Length: 0", f"Content-Length: {second}"))

    def test_content_length_with_zeros_in_front(self):
        self.assert_served(post("Content-Length: 005", body=b"hello"))
        self.assert_served(post("Content-Length: " + "0" * 30 + "5", body=b"hello"))

    def test_names_like_content_length_frame_nothing(self):
        for field in ("Content_Length: 36", "Content-Length-: 36", "XContent-Length: 36",
                      "Transfer_Encoding: chunked"):
            self.assert_served(post(field))

    def test_chunk_sizes(self):
        for chunk in (b"+1\r\na", b"-1\r\na", b"0x1\r\na", b" 1\r\na", b"1 \r\na", b"\t1\r\na",
                      b"1;\r\na", b"1;=\r\na", b"1;a=\r\na", b'1;a="\x00"\r\na', b"0x5\r\n", b"0;=\r\n",
                      b"1_0\r\n", b"g\r\n", b"\r\n", b";\r\n", b"00000000000000001\r\na",
                      b"fffffffffffffffff\r\n"):
            self.assert_refused(chunked(chunk + b"\r\n0\r\n\r\n"))

    def test_chunk_lines_end_with_cr_lf(self):
        for body in (b"1\na\r\n0\r\n\r\n", b"1\ra\r\n0\r\n\r\n", b"1\r\na\n0\r\n\r\n",
                     b"1\r\na\r0\r\n\r\n", b"1\r\na0\r\n\r\n", b"1\r\nab\r\n0\r\n\r\n",
                     b"1\r\nabc0\r\n\r\n",
                     b"1\r\na\r\n0\n\n", b"1\r\na\r\n0\r\n\n", b"1;x\ny\r\na\r\n0\r\n\r\n"):
            self.assert_refused(chunked(body))

    def test_chunks_that_are_fine(self):
        for body in (b"0005\r\nhello\r\n0000\r\n\r\n", b"5;a\r\nhello\r\n0;b=c\r\n\r\n",
                     b'5 ; a = "x;\\"y" ;b\r\nhello\r\n0\r\n\r\n', b"A\r\n0123456789\r\n0\r\n\r\n",
                     b"0000000000000001\r\na\r\n0\r\n\r\n"):
            self.assert_served(chunked(body))

    def test_chunk_extensions_count_towards_the_header_limit(self):
        self.assert_refused(chunked(b"1;" + b"x" * 2000), 431)
        self.assert_refused(chunked(b"1;%s\r\na\r\n" % (b"x" * 300) * 4), 431)
        self.assert_refused(chunked(b"1;" + b"x" * 950), 431)  # the header before it counts, too
        self.assert_served(chunked(b"1;%s\r\na\r\n" % (b"x" * 300) * 2 + b"0\r\n\r\n"))

    def test_trailers_count_towards_the_header_limits(self):
        self.assert_refused(chunked(b"0\r\nA: " + b"x" * 2000), 431)
        self.assert_refused(chunked(b"0\r\n" + b"A: xxxxxxx\r\n" * 9), 431)
        self.assert_refused(chunked(b"0\r\n" + b"A: %s\r\n" % (b"x" * 300) * 4), 431)
        self.assert_served(chunked(b"0\r\n" + b"A: xxxxxxx\r\n" * 8 + b"\r\n"))

    def test_trailers_change_nothing(self):
        for trailer in (b"Content-Length: 36", b"Host: again", b"Connection: close", b"Expect: tea",
                        b"Transfer-Encoding: gzip"):
            self.assert_served(chunked(b"0\r\n" + trailer + b"\r\n\r\n"))

    def test_trailers_are_fields(self):
        for trailer in (b"no colon", b": x", b"A : x", b" A: x", b"A: b\r\n c: d", b"A: \x00",
                        b"A: b\nC: d", b"A: b\rC: d"):
            self.assert_refused(chunked(b"0\r\n" + trailer + b"\r\n\r\n"))

    def test_bodies_of_get_and_head_are_consumed(self):
        inner = b"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n"
        self.assert_served(request("GET / HTTP/1.1", f"Content-Length: {len(inner)}", body=inner))
        self.assert_served(request("HEAD / HTTP/1.1", f"Content-Length: {len(inner)}", body=inner))
        self.assert_served(request("GET / HTTP/1.1", "Transfer-Encoding: chunked",
                                   body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)))

    def test_a_last_chunk_in_pieces(self):
        """Alone, Beast would fail an assertion: it expects five bytes where three have come."""
        for pieces in ((b"0\r\n", b"\r", b"\n"), (b"0\r\n", b"A", b": b\r\n\r\n"),
                       (b"0", b"\r", b"\n\r\n")):
            with self.subTest(pieces=pieces), self.server.connect() as client:
                client.sendall(chunked(b""))
                for piece in pieces:
                    time.sleep(0.02)
                    client.sendall(piece)
                self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 200"))


class Syntax(Strict):
    """Lines, fields, targets, methods: what is not HTTP, and what is HTTP although it looks odd."""

    def test_host(self):
        self.assert_refused(b"GET / HTTP/1.1\r\n\r\n")
        self.assert_refused(request("GET / HTTP/1.1", "Host: h"))
        for host in ("a b", "a/b", "user@h", "h:port", "h:80:80", "[::1", "[]", "[::1]x", "::1",
                     "a\\b", "h%", "h%2", "h%zz", "h\xff", "<h>", "h#f", "h?q", "\"h\"", "[x]", "[::g]",
                     "[1:2:3:4:5:6:7:8:9]", "[v1]", "[::1%25eth0]", "[1.2.3.4]", "[4712::abcd::]"):
            self.assert_refused(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
        for host in ("", "h", "h:", "h:80", "[::1]", "[::1]:80", "[1:2:3:4:5:6:7:8]",
                     "[::ffff:1.2.3.4]:80", "[v1.a:b]", "127.0.0.1:4242", "a-b.c_d",
                     "%41"):
            self.assert_served(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.assert_served(b"GET / HTTP/1.1\r\nHOST:h\r\n\r\n")

    def test_http_1_0_needs_no_host(self):
        self.assert_served(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    def test_line_ends(self):
        for bad in (b"GET / HTTP/1.1\nHost: h\n\n", b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: h\r\n\n", b"GET / HTTP/1.1\rHost: h\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: h\rA: b\r\n\r\n", b"GET / HTTP/1.1\r\r\n\r\n",
                    b"\nGET / HTTP/1.1\r\n", b"\rGET / HTTP/1.1\r\n"):
            self.assert_refused(bad)

    def test_a_bare_line_feed_is_refused_though_it_comes_in_pieces(self):
        with self.server.connect() as client:
            for byte in b"GET / HTTP/1.1\nH":
                client.sendall(bytes([byte]))
                time.sleep(0.001)
            self.assertEqual([r.status for r in split_responses(read_to_end(client))], [400])

    def test_fields(self):
        for field in ("no colon", "Name : x", "Name\t: x", ": x", " Name: x", "\tName: x",
                      "Name: a\x00b", "Name: a\x01b", "Name: a\x7fb", "Na(me: x", "N\u00e4me: x",
                      "Name: a\r\n b", "Name: a\r\n\tb", "Name: x\nOther: y", "Name: x\rOther: y"):
            self.assert_refused(request("GET / HTTP/1.1", field))
        self.assert_refused(b"GET / HTTP/1.1\r\n Host: h\r\n\r\n")

    def test_fields_that_are_fine(self):
        for field in ("A:b", "A: \t b \t ", "A:", "A: \u00e4\u20ac", "!#$%&'*+-.^_`|~: x",
                      "A: b: c", "Connection: keep-alive, x"):
            self.assert_served(request("GET / HTTP/1.1", field))
        responses = self.responses(request("GET / HTTP/1.1", "Connection: keep-alive, CLOSE") + GET)
        self.assertEqual([r.fields.get("connection") for r in responses], ["close"])

    def test_what_cannot_be_a_request_is_refused_at_once(self):
        for start in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00", b"\x80", b" ", b"(",
                      b"\r\n\x16"):
            with self.subTest(start=start), self.server.connect() as client:
                client.sendall(start)
                self.assertEqual([r.status for r in split_responses(read_to_end(client))], [400])

    def test_request_lines(self):
        for line in ("GET /", "GET", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET\t/ HTTP/1.1",
                     "GET /\tHTTP/1.1", " GET / HTTP/1.1", "/ HTTP/1.1", "GET HTTP/1.1",
                     "GET / http/1.1", "GET / HTTP/1.1 ", "GET / HTTP/1.1 x", "GET / HTTP/1.",
                     "GET / HTTP/11", "GET / HTTP/1.11", "GET / HTTP/0.9", "GET / HTTP/ 1.1",
                     "G(T / HTTP/1.1", "GET / FTP/1.1"):
            self.assert_refused(request(line))

    def test_versions(self):
        for line in ("GET / HTTP/2.0", "GET / HTTP/3.0", "GET / HTTP/9.9"):
            self.assert_refused(request(line), 505)
        for line in ("GET / HTTP/1.2", "GET / HTTP/1.9"):
            self.assert_served(request(line))
        self.assert_refused(b"GET / HTTP/1.2\r\n\r\n")  # without a Host

    def test_a_few_line_ends_before_a_request_are_skipped(self):
        self.assert_served(b"\r\n\r\n\r\n" + GET)

    def test_targets(self):
        for target in ("/\x00", "/\x7f", "/\u00e4", "/#fragment", "nothing", "http://", "http:///",
                       "http://user@h/", "ftp://h/", "http://h:port/", "*", "http://[4712::abcd::]/",
                       "http://[v1]/", "http://:80/", "/%", "/%zz", "/%4", "/?%", "/?a=%20%zz&b",
                       "http://h/%", "http://h%zz/", *(f"/{c}" for c in "\"<>\\^`{|}"),
                       *(f"/?{c}" for c in "\"<>\\^`{|}")):
            self.assert_refused(request(f"GET {target} HTTP/1.1"))
        for target in ("/?q", "/?a=%20%ff&b", "/?a[]=1", "/?~!$&'()*+,;=:@/?", "http://h", "http://other:80/", "HTTPS://[::1]/?q",
                       "http://h?q"):
            self.assert_served(request(f"GET {target} HTTP/1.1"))
        self.assert_served(request("GET http://h/nothing HTTP/1.1"), 404)
        self.assert_served(request("OPTIONS * HTTP/1.1"))

    def test_connect_is_not_offered(self):
        for target in ("h:443", "/", "*"):
            self.assert_refused(request(f"CONNECT {target} HTTP/1.1"), 501)

    def test_methods(self):
        for method in ("BREW", "get", "GETT"):
            self.assert_refused(request(f"{method} / HTTP/1.1"), 501)
        self.assert_served(request("DELETE / HTTP/1.1"), 405)


class Limits(Strict):
    """What is too long or too much, and what is exactly at the limit."""

    def test_over_them(self):
        self.assert_refused(request("GET / HTTP/1.1", "A: " + "x" * 1000), 431)
        self.assert_refused(request("GET / HTTP/1.1", *["A: " + "x" * 110] * 9), 431)
        self.assert_refused(request("GET / HTTP/1.1", *["A: b"] * 10), 431)
        self.assert_refused(request("GET /" + "x" * 1000 + " HTTP/1.1"), 414)
        self.assert_refused(b"x" * 1000, 414)
        self.assert_refused(post("Content-Length: 101"), 413)
        self.assert_refused(post("Content-Length: 9223372036854775807"), 413)
        self.assert_refused(chunked(b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"), 413)
        self.assert_refused(chunked(b"32\r\n%s\r\n" % (b"x" * 50) * 3), 413)
        self.assert_refused(chunked(b"ffffffffffffffff\r\n"), 413)

    def test_exactly_at_them(self):
        bare = len(request("GET / HTTP/1.1", "A: "))
        self.assert_served(request("GET / HTTP/1.1", "A: " + "x" * (1000 - bare)))
        self.assert_refused(request("GET / HTTP/1.1", "A: " + "x" * (1001 - bare)), 431)
        line = len(request("GET / HTTP/1.1"))
        self.assert_served(request("GET /" + "x" * (1000 - line) + " HTTP/1.1"), 404)
        self.assert_served(request("GET / HTTP/1.1", *["A: b"] * 9))
        self.assert_served(post("Content-Length: 100", body=b"x" * 100))
        bare = len(chunked(b"", "A: "))
        body = b"5\r\nhello\r\n0\r\n\r\n"
        self.assert_served(chunked(body, "A: " + "x" * (1000 - bare)))
        self.assert_served(chunked(b"32\r\n%s\r\n" % (b"x" * 50) * 2 + b"0\r\n\r\n"))

    def test_an_answer_can_be_read_while_the_body_still_comes(self):
        """If the server closed at once, the rest of the body would cause a reset and destroy it."""
        with self.server.connect() as client:
            client.sendall(post("Content-Length: 10000000"))
            for _ in range(50):
                client.sendall(b"x" * 10_000)
            self.assertEqual([r.status for r in split_responses(read_to_end(client))], [413])

    def test_an_answer_can_be_read_after_an_upload_that_takes_longer_than_the_linger_timeout(self):
        """Only silence is bounded by the linger timeout."""
        for body in (post("Content-Length: 10000000"), post("Transfer-Encoding: chunked",
                                                             body=b"fffffff\r\n")):
            with self.subTest(body=body), Server("--linger-timeout=1s", *self.FLAGS) as server, \
                    server.connect() as client:
                client.sendall(body)
                for _ in range(30):
                    client.sendall(b"x" * 10_000)
                    time.sleep(0.1)
                self.assertEqual([r.status for r in split_responses(read_to_end(client))], [413])

    def test_a_peer_that_sends_on_after_the_end_is_closed_all_the_same(self):
        """The request timeout bounds how long its input is discarded."""
        for bad in (b"nonsense\r\n\r\n", post("Content-Length: 10000000"),
                    request("GET / HTTP/1.1", "Connection: close")):
            with self.subTest(bad=bad), \
                    Server("--linger-timeout=10s", "--request-timeout=300ms", *self.FLAGS) as server, \
                    server.connect() as client:
                began = time.monotonic()
                client.sendall(bad)
                with self.assertRaises(ConnectionError):
                    while time.monotonic() < began + PATIENCE_S:
                        client.sendall(b"x")
                        time.sleep(0.02)
                self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_a_peer_that_is_silent_after_the_end_is_closed(self):
        with Server("--linger-timeout=200ms", "--request-timeout=1h") as server, \
                server.connect() as client:
            client.sendall(b"nonsense\r\n\r\n")
            client.sendall(b"x")
            server.wait_for_stats(lambda s: s["connections"]["open"] == 0)

    def test_a_server_that_ends_does_not_wait_for_an_upload_that_it_refused(self):
        with Server("--linger-timeout=300ms", "--drain-timeout=1h", *self.FLAGS) as server, \
                server.connect() as client:
            client.sendall(post("Content-Length: 10000000"))
            server.process.terminate()
            with self.assertRaises(ConnectionError):
                for _ in range(50 * PATIENCE_S):
                    client.sendall(b"x")
                    time.sleep(0.02)


if __name__ == "__main__":
    unittest.main()
