"""Which file may include which. The lists are the layers of the server and of the library."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# The files of the server, lowest layer first. A file may include only files that stand before it.
# So there is no circle, and a reader of this order knows every file that the next one includes.
SERVER = """
    grammar quantity one_line flags config_file log_file signals service_manager
    resources documents scenario counters write_queue response request exchange
    os_timer held_writes loop_probe access_log
    socket channel epoll_set uring ring_slots ring_stash ring transport
    connection_timers connection_context connection
    listener traced_timers options configuration idle_cost stats worker admin server version main
""".split()


def includes(file: pathlib.Path) -> list[str]:
    return re.findall(r'^#include ["<]([^">]+)[">]', file.read_text(), re.MULTILINE)


def sources(folder: str) -> list[pathlib.Path]:
    """All C++ files of a folder that are not tests."""
    files = [file for pattern in ("*.hpp", "*.cpp") for file in (ROOT / folder).glob(pattern)]
    return [file for file in files if not re.search(r"_(test|fuzz|testing)\.[ch]pp$", file.name)]


def everything_included(file: pathlib.Path) -> set[str]:
    """All headers that a file includes, directly or through other files of this project."""
    found: set[str] = set()
    rest = includes(file)
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += includes(ROOT / name) if (ROOT / name).is_file() else []
    return found


class Layers(unittest.TestCase):
    def test_every_file_of_the_server_has_its_place(self):
        stems = {file.stem for file in sources("server")} - {"call_counts"}  # a library for a test
        self.assertEqual(stems, set(SERVER))

    def test_no_file_of_the_server_includes_what_stands_above_it(self):
        for file in sources("server"):
            for name in includes(file):
                if name.startswith("server/") and pathlib.Path(name).stem != file.stem:
                    with self.subTest(file=file.name, includes=name):
                        self.assertLess(SERVER.index(pathlib.Path(name).stem),
                                        SERVER.index(file.stem))

    def test_an_exchange_knows_no_socket_and_no_timer(self):
        known = everything_included(ROOT / "server/exchange.hpp") | everything_included(
            ROOT / "server/exchange.cpp")
        self.assertFalse([name for name in known if name.startswith(("boost/asio", "timers/"))])

    def test_the_library_knows_neither_server_nor_benchmarks(self):
        for folder in ("timers", "timers/asio", "timers/loops"):
            for file in sources(folder):
                with self.subTest(file=file.name):
                    self.assertFalse([name for name in includes(file)
                                      if name.startswith(("server/", "bench/", "timers/testing"))])

    def test_no_header_of_the_library_includes_itself_by_way_of_others(self):
        for folder in ("timers", "timers/asio", "timers/loops"):
            for file in sources(folder):
                self.assertNotIn(str(file.relative_to(ROOT)), everything_included(file))

    def test_a_backend_knows_neither_clock_nor_asio(self):
        listed = [name for name in includes(ROOT / "timers/backends.hpp")
                  if name.startswith("timers/")]
        self.assertGreaterEqual(len(listed), 12)
        for name in listed:
            with self.subTest(backend=name):
                self.assertFalse([known for known in everything_included(ROOT / name)
                                  if known == "chrono" or known.startswith("boost/asio")])

    def test_asio_is_known_under_its_own_folder_of_the_library_only(self):
        for file in [*(ROOT / "timers").glob("*.hpp"), *(ROOT / "timers/loops").glob("*.hpp")]:
            with self.subTest(file=file.name):
                self.assertFalse([known for known in everything_included(file)
                                  if known.startswith(("boost/asio", "timers/asio/"))])


if __name__ == "__main__":
    unittest.main()
