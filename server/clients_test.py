"""What widely used HTTP clients see."""

import re
import subprocess
import tempfile
import textwrap
import unittest

from testing import PATIENCE_S, Server, WireTest, needs


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


class Clients(WireTest):
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def assert_ended_well(self, ended: subprocess.CompletedProcess):
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    @needs("curl")
    def test_curl(self):
        ended = run("curl", "-sS", "-i", "--fail", f"{self.url}/bytes/3", f"{self.url}/bytes/4")
        self.assert_ended_well(ended)
        self.assertIn("xxxx", ended.stdout)
        self.assert_ended_well(run("curl", "-sS", "-I", "--fail", f"{self.url}/bytes/99"))
        for flags in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue"),
                      ("--http1.0",)):
            ended = run("curl", "-sS", "--data-binary", "hello" * 1000, *flags, f"{self.url}/echo")
            self.assert_ended_well(ended)
            self.assertEqual(ended.stdout, "hello" * 1000)
        ended = run("curl", "-sS", "-T", self.big_file(), "-X", "POST", f"{self.url}/echo")
        self.assertEqual(len(ended.stdout), 900_000)

    def big_file(self) -> str:
        file = tempfile.NamedTemporaryFile("w")
        self.addCleanup(file.close)
        file.write("x" * 900_000)
        file.flush()
        return file.name

    @needs("wrk")
    def test_wrk(self):
        ended = run("wrk", "-t1", "-c20", "-d1s", self.url)
        self.assert_ended_well(ended)
        self.assertNotIn("Non-2xx", ended.stdout)
        self.assertNotIn("Socket errors", ended.stdout)

    @needs("h2load")
    def test_h2load(self):
        ended = run("h2load", "--h1", "-n2000", "-c20", "-m10", self.url)
        self.assert_ended_well(ended)
        self.assertIn("2000 succeeded, 0 failed, 0 errored, 0 timeout", ended.stdout)

    @needs("ab")
    def test_ab(self):
        for flags in (("-k",), ()):
            ended = run("ab", "-q", *flags, "-n2000", "-c20", self.url + "/bytes/100")
            self.assert_ended_well(ended)
            self.assertRegex(ended.stdout, r"Complete requests: +2000\n")
            self.assertRegex(ended.stdout, r"Failed requests: +0\n")
            self.assertEqual(bool(re.search(r"Keep-Alive requests: +2000\n", ended.stdout)),
                             bool(flags))


@needs("node")
class NodesAgent(unittest.TestCase):
    def test_keep_alive_races_the_idle_timeout_and_meets_no_reset(self):
        """Pauses between requests are about as long as the timeout. Each request is answered, or
        finds the connection closed."""
        script = textwrap.dedent("""
            const http = require('http');
            const [port, pause] = process.argv.slice(1).map(Number);
            const ends = {answered: 0, ended: 0, reset: 0};
            async function client(index) {
              const agent = new http.Agent({keepAlive: true, maxSockets: 1});
              for (let i = 0; i < 10; ++i) {
                await new Promise((resolve) => {
                  const request = http.get({port, host: '127.0.0.1', agent}, (response) => {
                    response.resume().on('end', () => { ++ends.answered; resolve(); });
                  });
                  // "socket hang up" has the code ECONNRESET, too, but no system call to blame.
                  request.on('error', (error) => {
                    error.syscall ? ++ends.reset : ++ends.ended;
                    resolve();
                  });
                });
                await new Promise((resolve) => setTimeout(resolve, pause + (index + i) % 5 - 2));
              }
              agent.destroy();
            }
            Promise.all([...Array(20).keys()].map(client)).then(
              () => console.log(JSON.stringify(ends)));
            """)
        with Server("--idle-timeout=50ms") as server:
            ended = run("node", "-e", script, "--", str(server.port), "50")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertRegex(ended.stdout, r'^\{"answered":\d+,"ended":\d+,"reset":0\}$')
        self.assertNotIn('"answered":0,', ended.stdout)


if __name__ == "__main__":
    unittest.main()
