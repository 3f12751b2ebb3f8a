import unittest

from results import stats
from results.stats import Outcome


class CompareBlocks(unittest.TestCase):
    def test_a_steady_ratio_is_found(self) -> None:
        result = stats.compare_blocks([(12.0 + 0.01 * i, 10.0 + 0.01 * i) for i in range(10)], 1)
        self.assertAlmostEqual(result["estimate"], 1.2, places=2)
        self.assertLess(result["low"], result["estimate"] + 1e-9)
        self.assertGreater(result["high"], result["estimate"] - 1e-9)
        self.assertAlmostEqual(result["p"], 2 / 1024)
        self.assertEqual(result["n"], 10)

    def test_five_rounds_cannot_reach_significance(self) -> None:
        self.assertAlmostEqual(stats.compare_blocks([(2.0, 1.0)] * 5, 1)["p"], 2 / 32)
        self.assertAlmostEqual(stats.compare_blocks([(2.0, 1.0)] * 6, 1)["p"], 2 / 64)

    def test_no_difference_has_a_large_p(self) -> None:
        pairs = [(1.0 + 0.01 * (-1) ** i, 1.0) for i in range(8)]
        result = stats.compare_blocks(pairs, 1)
        self.assertGreater(result["p"], 0.5)
        self.assertTrue(result["low"] <= 1.0 <= result["high"])

    def test_one_pair_and_none(self) -> None:
        self.assertEqual(stats.compare_blocks([(3.0, 2.0)], 1)["p"], None)
        self.assertAlmostEqual(stats.compare_blocks([(3.0, 2.0)], 1)["estimate"], 1.5)
        self.assertEqual(stats.compare_blocks([], 1)["n"], 0)

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        pairs = [(1.0 + 0.1 * i, 1.0) for i in range(7)]
        self.assertEqual(stats.compare_blocks(pairs, 5), stats.compare_blocks(pairs, 5))

    def test_many_rounds_are_sampled_and_agree_with_the_exact_test(self) -> None:
        values = [0.1, -0.02] * 9
        first, second = stats.sign_flip_p(values, 1), stats.sign_flip_p(values, 2)
        self.assertAlmostEqual(first, second, delta=0.01)
        self.assertLess(stats.sign_flip_p([0.1] * 20, 1), 0.001)


class HodgesLehmann(unittest.TestCase):
    def test_one_outlier_moves_it_little(self) -> None:
        self.assertEqual(stats.hodges_lehmann([1.0, 1.0, 1.0, 1.0, 100.0]), 1.0)

    def test_known_value(self) -> None:
        self.assertEqual(stats.hodges_lehmann([1.0, 2.0, 4.0]), 2.25)


class Holm(unittest.TestCase):
    def test_known_values(self) -> None:
        for got, want in zip(stats.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06], strict=True):
            self.assertAlmostEqual(got, want)

    def test_never_above_one_and_empty(self) -> None:
        self.assertEqual(stats.holm([0.9, 0.8]), [1.0, 1.0])
        self.assertEqual(stats.holm([]), [])


class RoundsNeeded(unittest.TestCase):
    def test_fewer_cannot_reach_five_per_cent_and_that_many_can(self) -> None:
        self.assertEqual(stats.rounds_needed(), stats.MIN_ROUNDS)
        for comparisons in (1, 11, 27):
            for rounds in (n := stats.rounds_needed(comparisons), n - 1):
                p = stats.sign_flip_p([1.0] * rounds, 1)
                lowest = stats.holm([p] * comparisons)[0]
                self.assertEqual(lowest < 0.05, rounds == n, (comparisons, rounds))


class MannWhitney(unittest.TestCase):
    def test_complete_separation(self) -> None:
        result = stats.mann_whitney([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
        self.assertEqual(result["u"], 0)
        self.assertAlmostEqual(result["p"], 2 / 20)

    def test_ties_stay_exact(self) -> None:
        self.assertEqual(stats.mann_whitney([1.0, 1.0], [1.0, 1.0])["p"], 1.0)

    def test_symmetry_and_empty(self) -> None:
        a, b = [1.0, 5.0, 2.0, 8.0], [3.0, 9.0, 7.0]
        self.assertAlmostEqual(stats.mann_whitney(a, b)["p"], stats.mann_whitney(b, a)["p"])
        self.assertIsNone(stats.mann_whitney([], b)["p"])


class Verdict(unittest.TestCase):
    def test_outcomes(self) -> None:
        self.assertEqual(stats.verdict(1.15, 1.25, 0.01, 0.01), Outcome.SLOWER)
        self.assertEqual(stats.verdict(0.75, 0.85, 0.01, 0.01), Outcome.FASTER)
        self.assertEqual(stats.verdict(1.15, 1.25, 0.2, 0.01), Outcome.INCONCLUSIVE)
        self.assertEqual(stats.verdict(0.995, 1.004, 0.5, 0.01), Outcome.SAME)
        self.assertEqual(stats.verdict(None, None, None, 0.01), Outcome.UNTESTED)

    def test_noise_band(self) -> None:
        self.assertAlmostEqual(stats.noise_band([(1.02, 1.0), (1.0, 1.0)]), 0.02)
        self.assertIsNone(stats.noise_band([]))


if __name__ == "__main__":
    unittest.main()
