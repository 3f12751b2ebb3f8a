import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from harness import fleet
from harness.fleet import Found, Memory, Phase, Shape
from harness.testing import STATS, Fakes, gone
from results.errors import Failed

SERVER = r"""#!{python}
import asyncio, json, sys
flags = dict(word[2:].partition("=")[::2] for word in sys.argv[1:])
idle_s, counts, stats = float(flags["idle-timeout"][:-1]), dict(open=0, idle=0), {stats}
async def serve(reader, writer):
    counts["open"] += 1
    try:
        while await asyncio.wait_for(reader.read(4096), idle_s):
            writer.write(b"HTTP/1.1 {answer} OK\r\nContent-Length: 0\r\n\r\n")
    except TimeoutError:
        counts["idle"] += 1
    writer.close()
async def tell(reader, writer):
    await reader.read(4096)
    stats["connections"].update(open=counts["open"], closed=dict(request=0, idle=counts["idle"]))
    text = json.dumps(stats).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
    writer.close()
async def main():
    main_, admin = [await asyncio.start_server(handler, "127.0.0.1", port, reuse_port=True) for
                    handler, port in ((serve, int(flags["port"])), (tell, 0))]
    main_, admin = (server.sockets[0].getsockname()[1] for server in (main_, admin))
    print(f"listening on http://127.0.0.1:{{main_}} admin=http://127.0.0.1:{{admin}}", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


class Measuring(Fakes):
    def measure(self, shape: Shape, answer: int = 200, files: int = 1000) -> Found:
        server = self.folder / "server"
        server.write_text(SERVER.format(python=sys.executable, stats=json.dumps(STATS),
                                        answer=answer))
        server.chmod(0o755)
        started = []
        child = fleet.Child

        def starting(*arguments: object) -> fleet.Child:
            started.append(child(*arguments))
            return started[-1]

        with (mock.patch.object(fleet, "OWN_BINARY", server),
              mock.patch.object(fleet, "Child", side_effect=starting)):
            try:
                return fleet.measure(shape, files)
            finally:
                self.assertTrue(all(gone(each.pid) for each in started))

    def test_all_connections_are_opened_asked_left_alone_and_expire(self) -> None:
        found = self.measure(Shape(2, 60, 2, 0.5), files=fleet.SPARE_FILES + 25)
        self.assertEqual(found.holders, 3)
        self.assertEqual((len(found.shares), sum(found.shares)), (2, 60))
        self.assertEqual([phase.events for phase in found.phases], [60, 60, 0, 60])
        self.assertGreaterEqual(found.held.sockets - found.before.sockets, 120)
        self.assertGreater(found.phases[0].cpu_s, 0)
        self.assertLess(found.phases[3].seconds, 2)
        text = fleet.table(found)
        self.assertRegex(text, r"(?m)^\| all expire \| \d\.\d \| \d\.\d{3} \| \d+\.\d \| \d+ \|$")

    def test_a_server_that_does_not_answer_well_is_a_failure(self) -> None:
        with self.assertRaisesRegex(Failed, "failed: the answer was not 200"):
            self.measure(Shape(1, 5, 2, 0.2), answer=503)

    def test_an_idle_window_in_which_timers_come_due_is_a_failure(self) -> None:
        with self.assertRaisesRegex(Failed, "fix: a longer --idle-timeout"):
            self.measure(Shape(1, 5, 2, 2.1))


class Shapes(unittest.TestCase):
    def test_no_process_has_more_than_its_descriptors(self) -> None:
        shape = Shape(4, 60_000, 60, 10)
        self.assertEqual(shape.per_holder(20_000), [15_000] * 4)
        self.assertEqual(shape.most_per_server, 15_735)
        self.assertEqual(Shape(1, 10, 60, 10).per_holder(fleet.SPARE_FILES + 4), [4, 3, 3])

    def test_too_many_holders_are_refused(self) -> None:
        with self.assertRaisesRegex(Failed, "larger limit of descriptors"):
            Shape(4, 1_000_000, 60, 10).per_holder(1024)


class Kernel(unittest.TestCase):
    def proc(self, **files: str) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in files.items():
            path = Path(folder.name, name.replace("_", "/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Path(folder.name)

    def test_what_the_kernel_says(self) -> None:
        proc = self.proc(meminfo="MemFree: 1 kB\nSlab:            2048 kB\n",
                         net_sockstat="sockets: used 9\nTCP: inuse 7 orphan 1 tw 3 alloc 8 mem 5\n",
                         slabinfo="slabinfo - version: 2.1\n# name <active_objs> ...\n"
                                  "TCP      700    713   2368   13    8 : tunables 0\n")
        found = Memory.read([], proc)
        self.assertEqual(found, Memory(0, 2048 * 1024, 5 * 4096, 7, 3, {"TCP": (700, 2368)}))

    def test_a_machine_that_says_nothing(self) -> None:
        self.assertEqual(Memory.read([], self.proc()), Memory(0, 0, 0, 0, 0))

    def test_wake_ups_of_all_threads(self) -> None:
        status = "Name: x\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t9\n"
        proc = self.proc(**{f"1_task_{n}_status": status.format(n) for n in (1, 2)})
        self.assertEqual(fleet.wake_ups([1], proc), 3)
        self.assertGreaterEqual(fleet.wake_ups([os.getpid()]), 0)


class Table(unittest.TestCase):
    def found(self, caches: dict) -> Found:
        empty, held = Memory(0, 0, 0, 2, 0), Memory(2**20, 2**21, 0, 22, 0, caches)
        return Found(Shape(2, 10, 60, 10), 1, [Phase("idle", 10, 0.5, 7)], empty, held, empty, [4, 6])

    def test_memory_is_divided_by_the_connections(self) -> None:
        text = fleet.table(self.found({"TCP": (20, 2000), "small": (1, 8)}))
        self.assertIn("| resident, all servers | 0.0 | 1.0 | 104858 | 0.0 |", text)
        self.assertIn("| TCP | 2000 | 2.00 | 4000 |", text)
        self.assertNotIn("small", text)
        self.assertIn("2 servers on one port with 4 to 6 of them", text)

    def test_without_permission_the_caches_are_not_listed(self) -> None:
        self.assertIn("only root may read /proc/slabinfo", fleet.table(self.found({})))


if __name__ == "__main__":
    unittest.main()
