import json
import unittest
from collections import Counter

from results import schema
from results.cell import AA, Cell, Measurement
from results.sample import (CLIENT_FIGURES, SHARES, TIMER_COUNTS, WRK_ERRORS, Cpu, Host, Latency,
                            Lateness, Sample, Totals, Window, WrkReport, left_out, usable)

CELL = Cell("respond", "default", "ordered-list", "lazy", 400, AA)
TIMERS = dict.fromkeys(TIMER_COUNTS, 7)


def whole() -> Sample:
    """A sample in which every field has a value."""
    window = Window(
        window_s=2.0, requests=10, timed_out=0, rps=5.0, timers=TIMERS,
        cpu=Cpu(user_s=0.5, sys_s=0.5, utilisation=0.5, outside_s=1.0, us_per_request=1e5),
        late_us=Lateness(p50=1, p99=2, max=3), bytes_out=380, writes=10, connections_open=400,
        host=Host(steal_pct=0.0, psi_some_pct=0.0, foreign_pct=0.0, server_core_busy=0.5),
        rss_kib=9000)
    report = WrkReport(requests=11, duration_s=3.0, errors=dict.fromkeys(WRK_ERRORS, 0),
                       latency_us=Latency(kind="wrk_co_corrected", p50=1.0, p90=2.0, p99=3.0,
                                          max=4.0))
    shares = dict.fromkeys(SHARES, 0.5)
    return Sample.of(
        Measurement("load", 1, CELL), window, order=0, error="none", t0="now", server_bound=True,
        timers_per_request=dict.fromkeys(TIMERS, 0.7), connections_asked=400, wrk=report,
        totals=Totals(responses=11, timed_out=0),
        clients={"a": dict.fromkeys(CLIENT_FIGURES, 1)}, per_request={"total": 3.0, "recv": 1.0},
        samples=1, lost=0, frequency=997, us_per_request=1e5, shares={"timer": shares},
        unresolved=0.0, timer_us_per_request=shares, folded="a", round_folded="b")


def paths(found: object, prefix: str = "") -> set[str]:
    if not isinstance(found, dict):
        return {prefix.removesuffix(".")}
    return {path for key, inner in found.items() for path in paths(inner, f"{prefix}{key}.")}


class Json(unittest.TestCase):
    def test_there_and_back(self) -> None:
        read = Sample.from_json(json.loads(json.dumps(whole().to_json())))
        self.assertEqual(read, whole())
        self.assertEqual(read.cell, CELL)

    def test_stacks_are_not_part_of_the_json(self) -> None:
        found = whole()
        found.stacks = Counter({("main",): 3})
        self.assertEqual(found.to_json(), whole().to_json())

    def test_every_field_is_described_and_nothing_else(self) -> None:
        written = paths(whole().to_json())
        written = {path.replace("shares.timer.", "shares.<group>.").replace("recv", "<call>")
                   .replace("clients.a.", "clients.<host>.")
                   for path in written}
        self.assertEqual(written, {path for path, _, _ in schema.described(Sample)})

    def test_what_was_not_measured_is_left_out_and_an_alias_is_null(self) -> None:
        failed = Sample.of(Measurement("load", 1, Cell("mixed", "short", "asio", "lazy", 4)),
                           valid=False, flags=["failed"], error="gone").to_json()
        self.assertEqual(list(failed), [
            "id", "kind", "round", "scenario", "timeouts", "backend", "rearm", "connections",
            "alias", "io", "valid", "flags", "error", "retried"])
        self.assertIsNone(failed["alias"])

    def test_samples_of_other_versions_can_be_read(self) -> None:
        old = {"id": "r01/x", "kind": "load", "round": 1, "scenario": "respond", "backend": "asio",
               "rearm": "lazy", "connections": 400, "cpu": {"us_per_request": 5.0},
               "weather": "fine"}
        read = Sample.from_json(old)
        self.assertEqual((read.timeouts, read.valid, read.flags), ("default", True, []))
        self.assertEqual((read.io, read.cell), ("epoll", Cell("respond", "default", "asio", "lazy",
                                                              400)))
        self.assertEqual((read.cpu.us_per_request, read.cpu.user_s, read.wrk), (5.0, None, None))

    def test_a_line_that_names_no_cell_is_no_sample(self) -> None:
        with self.assertRaises(KeyError):
            Sample.from_json({"id": "r01/x", "kind": "load"})


class Usable(unittest.TestCase):
    def test_invalid_samples_are_used_only_where_nothing_else_is(self) -> None:
        todo = Measurement("load", 1, CELL)
        good, bad = Sample.of(todo), Sample.of(todo, valid=False)
        self.assertEqual(usable([good, bad]), [good])
        self.assertEqual(usable([bad]), [bad])


class Usable(unittest.TestCase):
    """Which rounds of a cell count."""

    def counted(self, *rounds: str) -> list[int]:
        """Each round is clean (""), has a flag, or has failed; the numbers of those that count."""
        samples = [Sample.of(Measurement("load", number, CELL), valid=word != "failed",
                             flags=[word] if word else []) for number, word in enumerate(rounds, 1)]
        found = usable(samples)
        self.assertEqual([s for s in samples if s.valid and s not in found], left_out(samples))
        return [s.round for s in found]

    def test_all_clean_ones(self) -> None:
        self.assertEqual(self.counted("", "", ""), [1, 2, 3])

    def test_one_flagged_round_does_not_count(self) -> None:
        self.assertEqual(self.counted("", "steal", ""), [1, 3])
        self.assertEqual(self.counted("foreign_load", ""), [2])

    def test_half_is_enough_and_less_is_not(self) -> None:
        self.assertEqual(self.counted("steal", "", "steal", ""), [2, 4])
        self.assertEqual(self.counted("steal", "steal", "steal", ""), [1, 2, 3, 4])

    def test_a_flagged_figure_beats_a_missing_one(self) -> None:
        self.assertEqual(self.counted("steal"), [1])
        self.assertEqual(self.counted("steal", "failed"), [1])
        self.assertEqual(self.counted("failed", "failed"), [1, 2])

    def test_failed_rounds_are_none_of_those_that_decide(self) -> None:
        self.assertEqual(self.counted("failed", "failed", "", "steal"), [3])


if __name__ == "__main__":
    unittest.main()
