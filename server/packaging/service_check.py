"""Starts systemd in a Debian root, and has it run the server's package from its installation to its
purge: service_check.py ROOT PACKAGE HIGHER_PACKAGES. The paths of packages are those inside.

scripts/test-packages makes the root and calls this. systemd is process 1 of namespaces of its own:
processes, mounts, network, cgroups. Exit codes: 0 all is well, 1 something failed, 3 this machine
does not let systemd start.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 60
UNIT = "idlewheel-server.service"
GET = b"GET /bytes/7 HTTP/1.1\r\nHost: h\r\n\r\n"

# Run in the new namespaces, in the folder that becomes the root.
START = r"""
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
ip link set lo up
hostname idlewheel-test
mkdir -p .before
pivot_root . .before
exec chroot . /bin/sh -c '
    mount --make-rslave /.before
    umount -l /.before
    mount --make-rshared /
    exec env -i container=idlewheel-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --log-target=journal'
"""


def fail(message: str, code: int = 1):
    print(f"service_check: {message}", file=sys.stderr)
    sys.exit(code)


def wait_for(what: str, condition, patience_s: float = PATIENCE_S):
    limit = time.monotonic() + patience_s
    while not (result := condition()):
        if time.monotonic() > limit:
            raise AssertionError(f"it never came to this: {what}")
        time.sleep(0.05)
    return result


def enter(namespace):
    """os.setns() is new in Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Machine:
    """systemd in a root, as a context manager that leaves nothing running and nothing mounted."""

    def __init__(self, root: str):
        self.root = pathlib.Path(root)

    def __enter__(self) -> "Machine":
        self.cleanup = contextlib.ExitStack()
        with contextlib.ExitStack() as failed:
            failed.enter_context(self.cleanup)
            group = self.make_group()
            self.outer = subprocess.Popen(
                ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--net",
                 "--cgroup", "sh", "-c", START, "sh", self.root],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                preexec_fn=lambda: (group / "cgroup.procs").write_text("0"))
            self.cleanup.callback(self.end)
            self.wait_for_systemd()
            failed.pop_all()
        return self

    def __exit__(self, *_):
        self.cleanup.close()

    def make_group(self) -> pathlib.Path:
        """A cgroup that the machine takes for the root of all."""
        mount = self.cleanup.enter_context(tempfile.TemporaryDirectory())
        if subprocess.run(["mount", "-t", "cgroup2", "cgroup2", mount]).returncode != 0:
            fail("this machine has no cgroups of version 2", 3)
        self.cleanup.callback(subprocess.run, ["umount", mount], check=True)
        group = pathlib.Path(mount) / f"idlewheel-test-{os.getpid()}"
        group.mkdir()

        def remove():
            for folder, _, _ in os.walk(group, topdown=False):
                os.rmdir(folder)
        self.cleanup.callback(remove)
        return group

    def wait_for_systemd(self):
        def first() -> str:
            with open(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children") as children:
                return children.read().strip()

        def over() -> bool:
            if self.outer.poll() is not None:
                fail(f"systemd does not start here: {self.outer.stderr.read().strip()}", 3)
            self.pid = first()
            return bool(self.pid) and self.run(
                "systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")
        try:
            wait_for("systemd is running", over)
        except AssertionError as error:
            fail(f"systemd does not start here: {error}", 3)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            if getattr(self, "pid", None):
                os.kill(int(self.pid), signal.SIGRTMIN + 4)  # power off
        try:
            self.outer.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.outer.kill()  # and --kill-child ends systemd
        self.outer.communicate()

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            ["nsenter", "--target", self.pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
             "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
             "DEBIAN_FRONTEND=noninteractive", *command],
            capture_output=True, text=True, timeout=PATIENCE_S)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def connect(self, port: int = 4242) -> socket.socket:
        """A connection inside, which this process may use."""
        with open("/proc/self/ns/net") as here, open(f"/proc/{self.pid}/ns/net") as there:
            enter(there)
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
            finally:
                enter(here)

    def get(self, path: str = "/bytes/7", port: int = 4242) -> str:
        with self.connect(port) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            return read_to_end(client)

    def property(self, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", UNIT).stdout.strip()

    @contextlib.contextmanager
    def drop_in(self, line: str):
        folder = self.root / f"etc/systemd/system/{UNIT}.d"
        folder.mkdir()
        (folder / "test.conf").write_text(f"[Service]\n{line}\n")
        self.run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            shutil.rmtree(folder)
            self.run("systemctl", "daemon-reload")

    def has_user(self) -> bool:
        return self.run("getent", "passwd", "idlewheel", check=False).returncode == 0


def read_to_end(client: socket.socket) -> str:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data.decode()


def expect(what: str, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} in place of {wanted!r}")


def expect_in(wanted: str, text: str):
    if wanted not in text:
        raise AssertionError(f"there is no {wanted!r} in {text!r}")


def step(text: str):
    print(f"   {text}", flush=True)


class Check:
    def __init__(self, machine: Machine, package: str, higher: str):
        self.machine = machine
        self.package = package
        (name,) = (machine.root / higher.lstrip("/")).glob("idlewheel-server_*.deb")
        self.higher = str(pathlib.Path(higher) / name.name)
        self.config = machine.root / "etc/idlewheel/server.conf"

    def configure(self, *lines: str):
        self.config.write_text("".join(line + "\n" for line in ("admin-port = 9000", *lines)))

    def all(self):
        self.unit_files()
        self.installation()
        self.reload()
        self.rotation()
        self.watchdog()
        self.drain()
        self.long_drain()
        self.upgrade()
        self.removal()

    def unit_files(self):
        step("systemd-analyze finds nothing wrong with the unit, and little that it may do")
        machine = self.machine
        machine.run("dpkg", "--unpack", self.package)
        unit = f"/lib/systemd/system/{UNIT}"
        verified = machine.run("systemd-analyze", "verify", "--man=no", unit)
        expect("systemd-analyze verify", verified.stdout + verified.stderr, "")
        exposed = machine.run("systemd-analyze", "security", "--offline=yes", "--threshold=20",
                              "--no-pager", unit).stdout.splitlines()[-1]
        print(f"      {exposed.strip('→ ')}")

    def installation(self):
        step("the installation starts it, as a user of its own that may do nothing else")
        machine = self.machine
        machine.run("dpkg", "--configure", "idlewheel-server")
        expect("active", machine.property("ActiveState"), "active")
        expect("enabled", machine.property("UnitFileState"), "enabled")
        expect("type", machine.property("Type"), "notify")
        expect("status", machine.property("StatusText"), "serving on http://127.0.0.1:4242")
        expect("an answer", machine.get().split("\r\n")[0], "HTTP/1.1 200 OK")
        expect_in("idlewheel_requests_total", machine.get("/metrics", 9000))
        process = f"/proc/{machine.property('MainPID')}"
        expect("user", machine.run("stat", "-c", "%U:%G", process).stdout, "idlewheel:idlewheel\n")
        status = dict(line.split(":\t", 1) for line in
                      machine.run("cat", f"{process}/status").stdout.splitlines() if ":\t" in line)
        expect("capabilities", {status[each].strip() for each in ("CapEff", "CapPrm", "CapBnd")},
               {"0" * 16})
        expect("restrictions", (status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        owner = machine.run("stat", "-c", "%U:%G %a", "/var/log/idlewheel").stdout
        expect("folder of logs", owner, "idlewheel:idlewheel 750\n")

    def reload(self):
        step("a reload changes what it can, and a broken file fails it and changes nothing")
        machine = self.machine
        process = machine.property("MainPID")
        self.configure("access-log = /var/log/idlewheel/access.log", "max-body-bytes = 3", "threads = 7")
        machine.run("systemctl", "reload", UNIT)
        self.wait_for_log("changed: max-body-bytes, access-log")
        self.wait_for_log("until a restart: threads")
        with machine.connect() as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
            expect("the new limit", read_to_end(client).split(" ")[1], "413")
        self.configure("max-body-bytes = many")
        expect("reload", machine.run("systemctl", "reload", UNIT, check=False).returncode, 1)
        self.wait_for_log("'many' is not a size")
        self.configure("access-log = /var/log/idlewheel/access.log")
        machine.run("systemctl", "reload", UNIT)
        self.wait_for_log("changed: max-body-bytes")
        expect("the process", machine.property("MainPID"), process)
        expect("active", (machine.property("ActiveState"), machine.property("SubState")),
               ("active", "running"))

    def wait_for_log(self, text: str):
        wait_for(f"the log has '{text}'", lambda: text in self.machine.run(
            "journalctl", "--no-pager", "--unit", UNIT).stdout)

    def rotation(self):
        step("logrotate renames the log, and the server goes on in a new one")
        machine = self.machine
        log = machine.root / "var/log/idlewheel/access.log"
        machine.get("/bytes/1")
        wait_for("a line", lambda: "/bytes/1 " in log.read_text())
        machine.run("logrotate", "--force", "/etc/logrotate.d/idlewheel-server")
        wait_for("a new file", log.exists)
        machine.get("/bytes/2")
        wait_for("a line in the new file", lambda: "/bytes/2 " in log.read_text())
        expect_in("/bytes/1 ", log.with_name("access.log.1").read_text())
        expect("old lines in the new file", log.read_text().count("/bytes/1 "), 0)

    def watchdog(self):
        step("the watchdog restarts a server that hangs")
        machine = self.machine
        with machine.drop_in("WatchdogSec=2"):
            machine.run("systemctl", "restart", UNIT)
            process = machine.property("MainPID")
            wait_for("the status of the watchdog",
                     lambda: "requests so far" in machine.property("StatusText"))
            time.sleep(4)  # twice what the watchdog allows
            expect("the process", machine.property("MainPID"), process)
            machine.run("sh", "-c", f"kill -STOP {process}")
            wait_for("another process", lambda: machine.property("MainPID") not in ("0", process)
                     and machine.property("ActiveState") == "active")
            expect("restarts", machine.property("NRestarts"), "1")

    def drain(self):
        step("a stop answers what was received")
        machine = self.machine
        machine.run("systemctl", "restart", UNIT)
        with machine.connect() as client:
            client.sendall(GET[:10])
            wait_for("a connection", lambda: '"open":1' in machine.get("/stats", 9000))
            machine.run("systemctl", "stop", "--no-block", UNIT)
            wait_for("a drain", lambda: "503" in machine.get("/readyz", 9000).split("\r\n")[0])
            expect("state", machine.property("SubState"), "stop-sigterm")
            expect_in("draining", machine.property("StatusText"))
            client.sendall(GET[10:])
            answer = read_to_end(client)
            expect("an answer", answer.split("\r\n")[0], "HTTP/1.1 200 OK")
            expect_in("Connection: close", answer)
        wait_for("the end", lambda: machine.property("ActiveState") == "inactive")
        expect("result", (machine.property("Result"), machine.property("ExecMainStatus")),
               ("success", "0"))

    def long_drain(self):
        step("a drain that is longer than TimeoutStopSec gets its time")
        machine = self.machine
        self.configure("drain-timeout = 10s")
        with machine.drop_in("TimeoutStopSec=1"):
            machine.run("systemctl", "start", UNIT)
            self.drain_slowly()
        machine.run("systemctl", "start", UNIT)

    def drain_slowly(self):
        machine = self.machine
        with machine.connect() as client:
            client.sendall(GET[:10])
            wait_for("a connection", lambda: '"open":1' in machine.get("/stats", 9000))
            machine.run("systemctl", "stop", "--no-block", UNIT)
            time.sleep(3)  # three times what systemd allows by itself
            client.sendall(GET[10:])
            expect("an answer", read_to_end(client).split("\r\n")[0], "HTTP/1.1 200 OK")
        wait_for("the end", lambda: machine.property("ActiveState") == "inactive")
        expect("result", machine.property("Result"), "success")

    def upgrade(self):
        step("an upgrade restarts it and keeps its configuration; a disabled one stays disabled")
        machine = self.machine
        self.configure("max-headers = 50")
        process = machine.property("MainPID")
        machine.run("dpkg", "--install", self.higher)
        expect("another process", machine.property("MainPID") not in ("0", process), True)
        expect("active", machine.property("ActiveState"), "active")
        expect_in("max-headers = 50", self.config.read_text())
        expect_in("HTTP/1.1 200", machine.get())
        machine.run("systemctl", "disable", UNIT)
        machine.run("dpkg", "--install", self.higher)
        expect("enabled", machine.property("UnitFileState"), "disabled")
        machine.run("systemctl", "enable", UNIT)

    def removal(self):
        step("a removal stops it and keeps its configuration; a purge leaves nothing")
        machine = self.machine
        machine.run("dpkg", "--remove", "idlewheel-server")
        expect("state", machine.property("ActiveState"), "inactive")
        expect_in("max-headers = 50", self.config.read_text())
        expect("logs and user after a removal", ((machine.root / "var/log/idlewheel/access.log.1").exists(),
                                                 machine.has_user()), (True, True))
        machine.run("dpkg", "--install", self.package)  # again, over what was kept
        expect("active", machine.property("ActiveState"), "active")
        machine.run("dpkg", "--purge", "idlewheel-server")
        expect("a user after the purge", machine.has_user(), False)
        left = [str(path.relative_to(machine.root)) for folder in ("etc", "usr", "var/log", "var/lib/systemd")
                for path in (machine.root / folder).rglob("*idlewheel*")]
        expect("what is left", left, [])


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    root, package, higher = sys.argv[1:]
    with Machine(root) as machine:
        check = Check(machine, package, higher)
        try:
            check.all()
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            print(machine.run("journalctl", "--no-pager", "--lines=40", check=False).stdout)
            fail(f"{type(error).__name__}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
