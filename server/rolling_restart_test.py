"""Rolling restarts: with --reuse-port a server takes over the port of another, and no request is lost.

A request counts as lost when its connection ends without a byte of the answer, unless the client took
longer to send it than a leaving server waits (README.md).
"""

import contextlib
import socket
import threading
import time
import unittest

from testing import GET, PATIENCE_S, Server, at_work, read_to_end, request, split_responses

GET_AND_CLOSE = request("GET / HTTP/1.1", "Connection: close")
WAIT_S = 0.2  # a leaving server waits at least as long for a request


class Client(threading.Thread):
    """Sends requests until told to stop, on new connections or on one that it keeps."""

    def __init__(self, port: int, message: bytes):
        super().__init__()
        self.port = port
        self.message = message
        self.stopped = False
        self.heard_s = 0.0
        self.answered = 0
        self.lost: list[str] = []

    def run(self):
        while not self.stopped:
            self.heard_s = time.monotonic()  # the server hears of this client no earlier
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as client:
                while not self.stopped and self.exchange(client):
                    pass

    def exchange(self, client: socket.socket) -> bool:
        """True if another request may follow on this connection."""
        time.sleep(0.0005)  # the drain may fall between a connection, or an answer, and a request
        heard_s, self.heard_s = self.heard_s, time.monotonic()
        try:
            client.sendall(self.message)
            sent_s = time.monotonic()
            answer = client.recv(65536)
        except OSError as error:
            answer, sent_s = b"", time.monotonic()
            reason = str(error)
        else:
            reason = "closed"
        if answer:
            self.answered += 1
        elif sent_s - heard_s < WAIT_S / 2:
            self.lost.append(reason)
        return bool(answer) and b"Connection: close" not in answer


class RollingRestart(unittest.TestCase):
    def test_under_load_no_request_is_lost(self):
        for flags in ((), ("--threads=2",)):
            with self.subTest(flags=flags):
                self.restart_under_load(*flags)

    def restart_under_load(self, *flags: str, restarts: int = 8):
        leaving = Server("--reuse-port", *flags)
        clients = [Client(leaving.port, message) for message in (GET, GET_AND_CLOSE) * 4]
        try:
            with at_work(clients):
                for _ in range(restarts):
                    coming = Server("--reuse-port", "--port", str(leaving.port), *flags)
                    with leaving:
                        self.assertEqual(leaving.stop(), 0)
                    leaving = coming
        finally:
            with leaving:
                pass
        self.assertEqual([reason for client in clients for reason in client.lost], [])
        self.assertTrue(all(client.answered for client in clients))

    def test_a_client_that_has_connected_but_not_sent_its_request_is_answered(self):
        self.assert_answered_with_close(lambda client: None)

    def test_a_client_that_has_just_got_an_answer_may_send_one_more_request(self):
        def use(client):
            client.sendall(GET)
            client.recv(65536)
        self.assert_answered_with_close(use)

    def assert_answered_with_close(self, before):
        """A machine that stops for long may spoil an attempt, but not all of them."""
        for _ in range(5):
            with Server("--reuse-port") as server, server.connect() as client:
                before(client)
                with contextlib.suppress(OSError):
                    server.begin_drain()
                    client.sendall(GET)
                    if responses := split_responses(read_to_end(client)):
                        self.assertEqual(responses[0].status, 200)
                        self.assertEqual(responses[0].fields["connection"], "close")
                        return
        self.fail("every attempt was closed without an answer")

    def test_who_says_nothing_is_closed_without_a_byte(self):
        with Server("--reuse-port", "--drain-timeout=1h") as server, server.connect() as client:
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.process.terminate()
            self.assertEqual(read_to_end(client), b"")

    def test_a_second_signal_waits_for_nobody(self):
        with Server("--reuse-port", "--drain-timeout=1h") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.begin_drain()
            self.assertEqual(server.stop(), 0)

    def test_a_request_in_progress_is_answered(self):
        with Server("--reuse-port", "--drain-timeout=1h") as server, server.connect() as client:
            client.sendall(GET[:10])
            server.wait_for_stats(lambda s: s["connections"]["open"] == 1)
            server.process.terminate()
            time.sleep(5 * WAIT_S)  # longer than the handing over takes
            client.sendall(GET[10:])
            self.assertEqual([r.status for r in split_responses(read_to_end(client))], [200])


if __name__ == "__main__":
    unittest.main()
