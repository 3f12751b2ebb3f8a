import unittest
from collections import Counter
from dataclasses import replace

from harness import plan
from results import stats
from results.cell import IOS, KINDS, Measurement
from results.errors import Stop

KNOWN = plan.STUDY_BACKENDS


def total_s(made: plan.Settings) -> float:
    return sum(plan.estimate_s(made, m) for m in plan.measurements(made))


def profiled(made: plan.Settings) -> list[Measurement]:
    return [m for m in plan.measurements(made) if m.kind == "profile"]


def timed(made: plan.Settings) -> list[Measurement]:
    return [m for m in plan.measurements(made) if m.kind == "load"]


class Presets(unittest.TestCase):
    def test_quick_is_one_round_of_the_six_at_three_levels(self) -> None:
        made = plan.settings("quick", KNOWN, {})
        s1 = [m for m in timed(made) if m.cell.workload == "respond"]
        self.assertEqual(len(s1), 3 * (5 * 2 + 1))
        self.assertEqual(Counter(m.cell.connections for m in s1), {400: 11, 5000: 11, 10_000: 11})
        self.assertEqual(plan.label(made), "one round: no statistics")

    def test_quick_fits_eight_minutes_and_smoke_one(self) -> None:
        for preset, limit in (("quick", 460), ("smoke", 50)):
            made = plan.settings(preset, KNOWN, {})
            self.assertLess(total_s(made), limit, preset)

    def test_quick_profiles_the_eager_cells_and_none(self) -> None:
        cells = [m.cell for m in profiled(plan.settings("quick", KNOWN, {}))]
        self.assertTrue(all(cell.rearm == "eager" or cell.backend == "none" for cell in cells))
        self.assertTrue(any(cell.backend == "none" for cell in cells))

    def test_profiles_are_made_as_chosen(self) -> None:
        chosen = {"rearm": ["lazy"], "duration": 9.0, "rounds": 2, "only_profiles": True}
        made = plan.settings("quick", KNOWN, chosen)
        found = [m for m in profiled(made) if m.cell.backend != "none"]
        self.assertEqual({m.cell.rearm for m in found}, {"lazy"})
        self.assertEqual({m.round for m in found}, {1, 2})
        self.assertEqual({plan.window_s(made, m) for m in found}, {9.0})
        beside_loads = plan.settings("quick", KNOWN, {"duration": 9.0, "rounds": 2})
        quick = plan.PRESETS["quick"]
        self.assertEqual((beside_loads.profile_rounds, beside_loads.profile_window_s),
                         (quick.profile_rounds, quick.profile_window_s))

    def test_full_has_six_rounds_or_more_within_its_budget(self) -> None:
        made = plan.settings("full", KNOWN, {})
        self.assertGreaterEqual(made.rounds, stats.MIN_ROUNDS)
        self.assertLess(total_s(made), plan.FULL_BUDGET_S)
        self.assertEqual({m.cell.workload for m in timed(made)}, set(plan.WORKLOADS))
        timed_out = {m.cell.connections for m in timed(made)
                     if m.cell.workload == "increasing-timeout"}
        self.assertEqual(timed_out, {5000, 10_000})

    def test_full_with_fifteen_backends_still_fits(self) -> None:
        many = [f"b{i}" for i in range(14)] + ["none"]
        made = plan.settings("full", many, {})
        self.assertLess(total_s(made), 90 * 60)
        self.assertEqual(len(made.backends), 15)
        self.assertGreaterEqual(made.rounds, stats.MIN_ROUNDS)
        rounds = Counter((m.cell.workload, m.cell.backend, m.cell.rearm, m.cell.connections)
                         for m in timed(made) if not m.cell.alias)
        for (workload, *_), count in rounds.items():
            expected = made.rounds if workload == "respond" else made.slow_rounds
            self.assertEqual(count, expected)
        self.assertIn("rounds of respond", plan.label(made))
        self.assertIn("p < 0.05 among so many variants needs 11", plan.label(made))

    def test_full_keeps_what_was_chosen(self) -> None:
        many = [f"b{i}" for i in range(13)] + ["none"]
        for chosen in ({"scenarios": ["respond"], "duration": 10}, {"duration": 5},
                       {"connections": [1, 2, 3, 4]}, {"scenarios": ["mixed"]}):
            made = plan.settings("full", many, chosen)
            self.assertGreaterEqual(made.rounds, 1)
            if "duration" in chosen:
                self.assertEqual(made.window_s, chosen["duration"])

    def test_paper_is_the_study_as_it_stood(self) -> None:
        made = plan.settings("paper", KNOWN, {})
        self.assertEqual((made.wrk_threads, made.wrk_duration_s), (12, 30))
        loads = {(m.cell.workload, m.cell.connections) for m in timed(made)}
        self.assertEqual(loads, {("respond", 400), ("respond", 10_000),
                                 ("increasing-timeout", 5000)})


class Blocks(unittest.TestCase):
    def test_every_block_is_complete_and_ids_are_unique(self) -> None:
        made = replace(plan.settings("full", KNOWN, {}), rounds=3, slow_rounds=3)
        todo = plan.measurements(made)
        self.assertEqual(len({m.id for m in todo}), len(todo))
        blocks = Counter((m.round, m.cell.workload, m.cell.connections) for m in timed(made))
        for (_, workload, _), size in blocks.items():
            self.assertEqual(size, 5 * 2 + 1 + (1 if workload.startswith("respond") else 0))

    def test_both_transports_share_every_block(self) -> None:
        made = plan.settings("quick", KNOWN, {"io": IOS, "rounds": 2})
        todo = plan.measurements(made)
        self.assertEqual(len({m.id for m in todo}), len(todo))
        self.assertEqual(len(todo), 2 * len(plan.measurements(replace(made, io=IOS[:1]))))
        for kind in KINDS:
            blocks: dict[tuple, dict[str, set]] = {}
            for m in todo:
                if m.kind == kind:
                    block = blocks.setdefault((m.round, m.cell.conditions), {})
                    block.setdefault(m.cell.io, set()).add((m.cell.backend, m.cell.rearm))
            for found in blocks.values():
                self.assertEqual(found["epoll"], found["io_uring"], kind)

    def test_one_transport_unless_more_are_chosen(self) -> None:
        for preset in plan.PRESETS:
            made = plan.measurements(plan.settings(preset, KNOWN, {"rounds": 1}))
            self.assertEqual({m.cell.io for m in made}, {"epoll"})
        both = plan.settings("full", KNOWN, {"io": IOS})
        self.assertLess(total_s(both), plan.FULL_BUDGET_S)

    def test_one_variant_is_repeated_as_aa_in_every_block_of_full(self) -> None:
        made = replace(plan.settings("full", KNOWN, {}), rounds=2, slow_rounds=2)
        aliased = [m for m in plan.measurements(made) if m.cell.alias]
        self.assertEqual(len(aliased), 2 * (3 + 2 + 1 + 1))
        self.assertEqual({(m.cell.backend, m.cell.rearm) for m in aliased},
                         {("hierarchical-wheel", "lazy")})
        self.assertTrue(all(m.id.endswith("load~aa") for m in aliased))

    def test_seed_decides_the_order_and_only_the_order(self) -> None:
        ids = [[m.id for m in plan.measurements(plan.settings("quick", KNOWN, {"seed": s}))]
               for s in (1, 1, 2)]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[0], ids[2])
        self.assertEqual(sorted(ids[0]), sorted(ids[2]))

    def test_rounds_differ_in_order(self) -> None:
        made = plan.settings("quick", KNOWN, {"rounds": 2, "connections": [400]})
        orders = [[(m.cell.backend, m.cell.rearm) for m in timed(made)
                   if m.round == r and m.cell.workload == "respond"] for r in (1, 2)]
        self.assertNotEqual(orders[0], orders[1])

    def test_none_is_never_asked_to_time_out(self) -> None:
        made = plan.settings("full", KNOWN, {})
        control = [m for m in plan.measurements(made) if m.cell.backend == "none"]
        self.assertEqual({m.cell.scenario for m in control}, {"respond"})
        self.assertEqual({m.cell.rearm for m in control}, {"lazy"})


class Choices(unittest.TestCase):
    def test_an_unknown_backend_is_refused_with_the_list(self) -> None:
        with self.assertRaises(Stop) as caught:
            plan.settings("quick", KNOWN, {"backends": ["calendar"]})
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("hierarchical-wheel", str(caught.exception))

    def test_every_level_that_was_asked_for_is_timed_and_profiled_in_every_workload(self) -> None:
        for preset in plan.PRESETS:
            for asked in ([20, 40, 60], [5000, 10_000], [100]):
                chosen = {"connections": asked, "scenarios": plan.WORKLOADS, "rounds": 1}
                made = plan.measurements(plan.settings(preset, KNOWN, chosen))
                for kind in ("load", "profile"):
                    found = {(m.cell.workload, m.cell.connections) for m in made if m.kind == kind}
                    wanted = {(workload, n) for workload in plan.WORKLOADS for n in asked}
                    self.assertEqual(found, wanted, (preset, kind))

    def test_a_workload_alone_is_timed_at_every_level_too(self) -> None:
        for workload in plan.WORKLOADS:
            made = plan.settings("smoke", KNOWN, {"connections": [20, 40, 60],
                                                  "scenarios": [workload]})
            self.assertEqual({m.cell.connections for m in timed(made)}, {20, 40, 60}, workload)

    def test_none_alone_with_a_timeout_scenario_is_refused(self) -> None:
        with self.assertRaises(Stop) as caught:
            plan.settings("quick", KNOWN, {"backends": ["none"], "scenarios": ["mixed"]})
        self.assertEqual(caught.exception.code, 2)

    def test_short_windows_hold_three_idle_periods(self) -> None:
        made = plan.settings("quick", KNOWN, {"duration": 0.5})
        short = [m for m in timed(made) if m.cell.timeouts == "short"]
        self.assertTrue(short)
        self.assertTrue(all(plan.window_s(made, m) >= 6.0 for m in short))

    def test_seed_zero_is_a_seed(self) -> None:
        self.assertEqual(plan.settings("quick", KNOWN, {"seed": 0}).seed, 0)


if __name__ == "__main__":
    unittest.main()
