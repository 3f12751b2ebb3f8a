"""A program that holds idle connections to a server on loopback: holder.py PORT NETWORK COUNT.

Connections come from 127.NETWORK.0.1, 127.NETWORK.0.2 and so on, because one address has not ports
enough for all. The program says `connected COUNT`. At SIGUSR1 it asks one GET on each connection, in
the same order, and says `answered COUNT`. Then it waits until the server has closed them all, and says
`closed COUNT`. What goes wrong is one line that begins with `failed`, and exit code 1. Only the kernel
bounds the waiting, so that a connection costs no system call beyond its own.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
import time

PER_ADDRESS = 5000
IP_BIND_ADDRESS_NO_PORT = 24  # the port is chosen in connect(), where both addresses are known
PATIENCE_S = 20
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def connect(port: int, network: int, number: int) -> socket.socket:
    client = socket.socket()
    patience = struct.pack("ll", PATIENCE_S, 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((f"127.{network}.0.{1 + number // PER_ADDRESS}", 0))
    client.connect(("127.0.0.1", port))
    return client


def ask(client: socket.socket) -> None:
    client.sendall(GET)
    if not client.recv(4096).startswith(b"HTTP/1.1 200"):
        raise OSError("the answer was not 200")


def wait_for_end(client: socket.socket) -> None:
    client.setblocking(False)
    while True:
        try:
            if client.recv(4096):
                raise OSError("the server said something that nobody asked for")
            return client.close()
        except BlockingIOError:
            time.sleep(0.02)


def say(word: str, count: int) -> None:
    print(word, count, flush=True)


def hold(port: int, network: int, count: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    clients = [connect(port, network, number) for number in range(count)]
    say("connected", count)
    signal.sigwait({signal.SIGUSR1})
    for client in clients:
        ask(client)
    say("answered", count)
    for client in clients:
        wait_for_end(client)
    say("closed", count)


if __name__ == "__main__":
    try:
        hold(*map(int, sys.argv[1:4]))
    except OSError as error:
        print(f"failed: {error.strerror or error}", flush=True)
        sys.exit(1)
