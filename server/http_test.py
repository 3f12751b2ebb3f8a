"""What the server says on the wire: persistence, framing, syntax."""

import time
import unittest

from testing import GET, StrictTest, WireTest, chunked, post, read_to_end, request, split_responses


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


class Framing(StrictTest):
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


class Syntax(StrictTest):
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
        for target in ("/?q", "/?a=%20%ff&b", "/?a[]=1", "/?~!$&'()*+,;=:@/?", "http://h",
                       "http://other:80/", "HTTPS://[::1]/?q", "http://h?q"):
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


if __name__ == "__main__":
    unittest.main()
