"""Clients see the same with both transports: random conversations with a server of each kind.

IDLEWHEEL_SEED repeats a run. A conversation that differs is printed.
"""

import collections
import contextlib
import os
import random
import select
import socket
import struct
import time
import unittest

from testing import GET, NO_RING, PATIENCE_S, Server, has_ring, post, request, split_responses

SEED = int(os.environ.get("IDLEWHEEL_SEED", random.randrange(1 << 32)))
CONVERSATIONS = int(os.environ.get("IDLEWHEEL_CONVERSATIONS", "60"))

WHOLE = (
    GET,
    GET * 40,
    request("HEAD /bytes/1000 HTTP/1.1"),
    request("GET /bytes/100 HTTP/1.1"),
    request("GET /bytes/20000 HTTP/1.1"),
    request("GET /bytes/3000000 HTTP/1.1"),
    request("OPTIONS * HTTP/1.1"),
    request("GET /nowhere HTTP/1.1"),
    request("DELETE / HTTP/1.1"),
    post("Content-Length: 3", body=b"abc"),
    post("Content-Length: 60000", body=b"x" * 60000),
    post("Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
    b"\r\n",
)
# After one of these the server answers nothing more.
LAST = (
    request("GET / HTTP/1.1", "Connection: close"),
    request("GET /bytes/500000 HTTP/1.1", "Connection: close"),
    b"GET / HTTP/1.0\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    post("Content-Length: 70000", body=b"y" * 70000),
    request("GET / HTTP/1.1", "A: " + "b" * 9000),
    request("BREW / HTTP/1.1"),
)
FLAGS = (
    (),
    ("--write-window-bytes=0",),
    ("--write-window-time=1ms",),
    ("--write-window-responses=3", "--write-window-bytes=1MiB"),
    ("--linger-timeout=0s", "--threads=2"),
)

Conversation = collections.namedtuple("Conversation", "pieces pauses end")


def some_conversation(dice: random.Random) -> Conversation:
    """What a client sends, in which pieces, where it pauses, and how it ends."""
    sent = b"".join(dice.choice(WHOLE) for _ in range(dice.choice((0, 1, 2, 5, 20))))
    if dice.random() < 0.4:
        sent += dice.choice(LAST) + dice.choice((b"", GET, b"x" * 5000))
    if sent and dice.random() < 0.3:
        sent = sent[:-dice.randrange(1, min(len(sent), 100) + 1)]
    pieces, at = [], 0
    while at < len(sent):
        size = dice.choice((1, 2, 7, 30, 1000, 2048, 16384, 100_000))
        if len(pieces) > 60:
            size = len(sent)
        pieces.append(sent[at:at + size])
        at += size
    pauses = [dice.random() < 0.1 for _ in pieces]
    return Conversation(pieces, pauses, dice.choice(("fin", "fin", "fin", "reset")))


def hold(port: int, conversation: Conversation) -> bytes:
    """Returns what the server has sent, and how that ended. The client reads only when it cannot
    send, or has sent everything."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # the server has ended it
            for piece, pause in zip(conversation.pieces, conversation.pauses):
                send(client, piece, received)
                if pause:
                    time.sleep(0.002)
            if conversation.end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return bytes(received)
            client.shutdown(socket.SHUT_WR)
        try:
            while data := client.recv(1 << 18):
                received += data
            return bytes(received) + b"<FIN>"
        except ConnectionResetError:
            return bytes(received) + b"<RST>"


def send(client: socket.socket, piece: bytes, received: bytearray):
    client.setblocking(False)
    while piece:
        readable, writable, _ = select.select([client], [client], [], PATIENCE_S)
        assert readable or writable, "the server neither reads nor sends"
        if writable:
            with contextlib.suppress(BlockingIOError):
                piece = piece[client.send(piece):]
        elif data := client.recv(1 << 18):
            received += data
        else:
            break  # the end came while the server still had to read
    client.settimeout(PATIENCE_S)


def without_dates(answer: bytes) -> bytes:
    parts = answer.split(b"Date: ")
    return b"".join([parts[0], *(part[31:] for part in parts[1:])])


@unittest.skipUnless(has_ring(), NO_RING)
class Transports(unittest.TestCase):
    def test_clients_see_the_same(self):
        print(f"IDLEWHEEL_SEED={SEED}", flush=True)
        for number, flags in enumerate(FLAGS):
            with self.subTest(flags=flags), Server("--io=epoll", *flags) as one, \
                    Server("--io=io_uring", *flags) as other:
                dice = random.Random(SEED + number)
                for _ in range(CONVERSATIONS):
                    self.compare(some_conversation(dice), one, other, "--linger-timeout=0s" in flags)
                self.compare_counters(one, other)

    def compare(self, conversation: Conversation, one: Server, other: Server, cuts: bool):
        answers = [without_dates(hold(server.port, conversation)) for server in (one, other)]
        if conversation.end == "reset":
            return  # how much had come by then is left to chance
        if cuts:  # a server that does not linger resets whoever goes on sending
            shorter, longer = sorted((answer[:-5] for answer in answers), key=len)
            return self.assertTrue(longer.startswith(shorter), conversation)
        if answers[0] != answers[1]:
            for answer in answers:
                print([(r.status, len(r.body)) for r in split_responses(answer[:-5])], answer[-5:])
            self.fail(f"different answers to {conversation}")

    def compare_counters(self, one: Server, other: Server):
        stats = [server.wait_for_stats(lambda s: s["connections"]["open"] == 0)
                 for server in (one, other)]
        for each in stats:
            connections = each["connections"]
            self.assertEqual(connections["accepted"], sum(connections["closed"].values()))
            self.assertEqual(each["timers"]["live"], 0)
        self.assertEqual(*(each["connections"]["accepted"] for each in stats))


if __name__ == "__main__":
    unittest.main()
