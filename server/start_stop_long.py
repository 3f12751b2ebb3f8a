"""Starts and stops the server many times. A sanitizer's finding changes the exit code."""

import contextlib
import threading
import unittest

from testing import Server


class StartAndStop(unittest.TestCase):
    def test_200_times_in_a_burst_of_connections(self):
        for _ in range(200):
            with Server("--linger-timeout=50ms", "--threads=2") as server:
                clients = []

                def burst():
                    with contextlib.suppress(OSError):
                        while True:
                            clients.append(server.connect())
                            clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

                thread = threading.Thread(target=burst)
                thread.start()
                self.assertEqual(server.stop(), 0)
                thread.join()
                for client in clients:
                    client.close()


if __name__ == "__main__":
    unittest.main()
