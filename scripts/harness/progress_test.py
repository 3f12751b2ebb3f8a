import io
import unittest

from harness.progress import Progress, duration, outcome
from results.cell import Cell, Measurement
from results.sample import Cpu, Sample

PLANNED = Measurement("load", 1, Cell("respond", "default", "asio", "lazy", 400))


def made(**fields: object) -> Sample:
    cpu = Cpu(user_s=1.0, sys_s=1.0, utilisation=1.0, outside_s=2.0, us_per_request=12.345)
    found = Sample.of(PLANNED, rps=50_000.0, cpu=cpu, server_bound=True)
    for name, content in fields.items():
        setattr(found, name, content)
    return found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Lines(unittest.TestCase):
    def test_a_line_a_cell_with_place_and_time_left(self) -> None:
        out = io.StringIO()
        progress = Progress(20, 7, 100.0, out)
        progress.start(PLANNED)
        progress.finish(PLANNED, made(), 50.0)
        progress.end()
        self.assertEqual(out.getvalue(), "[ 8/20] load respond 400 asio lazy: 12.35 us/request, "
                                         "50.0 k req/s; 0 s left\n")

    def test_a_terminal_gets_one_line_that_is_written_over(self) -> None:
        out = Terminal()
        progress = Progress(2, 0, 100.0, out)
        progress.start(PLANNED)
        progress.finish(PLANNED, made(), 50.0)
        self.assertEqual(out.getvalue().count("\r"), 2)
        self.assertNotIn("\n", out.getvalue())

    def test_outcomes(self) -> None:
        self.assertIn("server at 100%", outcome(made(server_bound=False)))
        flagged = outcome(made(flags=["steal"]))
        self.assertTrue(flagged.endswith("[steal]"))
        self.assertIn("failed: gone", outcome(made(valid=False, error="gone")))
        expired = outcome(made(scenario="increasing-timeout"))
        self.assertIn("us/expired", expired)

    def test_durations(self) -> None:
        self.assertEqual([duration(s) for s in (-1, 59.4, 60, 754)],
                         ["0 s", "59 s", "1 min 00 s", "12 min 34 s"])


if __name__ == "__main__":
    unittest.main()
