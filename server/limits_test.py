"""Limits of requests, and how a connection ends whose request was refused."""

import time
import unittest

from testing import (PATIENCE_S, Server, StrictTest, chunked, post, read_to_end, request,
                     split_responses)


class Limits(StrictTest):
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
