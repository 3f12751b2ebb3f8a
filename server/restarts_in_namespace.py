"""Restarts of servers that share a port, for migration_test.py: how many clients suffer.

restarts_in_namespace.py drain|crash MIGRATE prints the counts as JSON. It runs in a network namespace
of its own, where it sets net.ipv4.tcp_migrate_req to MIGRATE.
"""

import fcntl
import json
import os
import pathlib
import signal
import socket
import struct
import sys
import threading

from testing import GET, PATIENCE_S, Server, at_work, request, wait_for

MIGRATE = pathlib.Path("/proc/sys/net/ipv4/tcp_migrate_req")
GET_AND_CLOSE = request("GET / HTTP/1.1", "Connection: close")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def bring_up_loopback():
    with socket.socket() as any_:
        empty = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(any_, SIOCGIFFLAGS, empty))
        fcntl.ioctl(any_, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | IFF_UP))


def kernel_counts() -> dict[str, int]:
    """TcpExt of this namespace: nobody else is in it."""
    lines = [line.split() for line in pathlib.Path("/proc/net/netstat").read_text().splitlines()]
    names, values = (line[1:] for line in lines if line[0] == "TcpExt:")
    return dict(zip(names, map(int, values)))


def outcome(client: socket.socket) -> str:
    """What becomes of a request: answered, or how it was lost."""
    try:
        client.sendall(GET_AND_CLOSE)
        return "answered" if client.recv(65536).startswith(b"HTTP/1.1 200") else "closed"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "forgotten"


class Client(threading.Thread):
    """Asks on one new connection after another until it is told to stop."""

    def __init__(self, port: int):
        super().__init__()
        self.port = port
        self.stopped = False
        self.outcomes: list[str] = []

    def run(self):
        while not self.stopped:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as client:
                    self.outcomes.append(outcome(client))
            except ConnectionRefusedError:
                self.outcomes.append("refused")
            except ConnectionResetError:
                self.outcomes.append("reset")
            except TimeoutError:
                self.outcomes.append("forgotten")


def drain(restarts: int = 4) -> list[str]:
    """As README.md says: the new server is ready before the old one gets SIGTERM. Between restarts
    each client is served some more, so that a restart finds all of them at work."""
    leaving = Server("--reuse-port")
    clients = [Client(leaving.port) for _ in range(4)]
    try:
        with at_work(clients):
            for _ in range(restarts):
                before = [len(client.outcomes) for client in clients]
                wait_for(lambda: all(len(client.outcomes) > count + 20
                                     for client, count in zip(clients, before)))
                coming = Server("--reuse-port", "--port", str(leaving.port))
                with leaving:
                    leaving.stop()
                leaving = coming
    finally:
        with leaving:
            pass
    return [outcome for client in clients for outcome in client.outcomes]


def crash(connections: int = 64) -> list[str]:
    """A server dies while connections wait in its queue."""
    with Server("--reuse-port", exit_code=-signal.SIGKILL) as dying:
        dying.process.send_signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{dying.process.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        with Server("--reuse-port", "--port", str(dying.port)) as staying:
            clients = [staying.connect() for _ in range(connections)]
            dying.stop(signal.SIGKILL)
            outcomes = [outcome(client) for client in clients]
            for client in clients:
                client.close()
    return outcomes


def main() -> None:
    bring_up_loopback()
    MIGRATE.write_text(sys.argv[2])
    outcomes = {"drain": drain, "crash": crash}[sys.argv[1]]()
    counts = kernel_counts()
    print(json.dumps({
        **{name: outcomes.count(name)
           for name in ("answered", "refused", "reset", "closed", "forgotten")},
        "repeated": counts["TCPSynRetrans"], "migrated": counts["TCPMigrateReqSuccess"]}))


if __name__ == "__main__":
    main()
