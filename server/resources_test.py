"""What each resource answers, and the fields of every answer."""

import email.utils
import random
import time
import unittest

from testing import (GET, PATIENCE_S, Server, WireTest, chunked, exchange, post, request,
                     split_responses)


class Resources(WireTest):
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


if __name__ == "__main__":
    unittest.main()
