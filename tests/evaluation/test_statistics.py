"""Statistics against scipy, worked examples and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from mmkd.errors import DataError
from mmkd.evaluation import statistics as st


def covered_at_least(hits: int, studies: int, coverage: float) -> bool:
    """Whether that few hits could be chance (1 in 1000) at the claimed coverage."""
    return hits >= stats.binom.ppf(0.001, studies, coverage)


def bootstrap_coverage(draw, units: int, studies: int) -> float:
    """Fraction of studies of one seed whose interval over units holds 0; `draw(units)` has mean 0."""
    nothing = np.zeros((1, units))
    estimates = [st.paired_bootstrap(draw(units)[None], nothing, resamples=399, seed=i) for i in range(studies)]
    return sum(not estimate.interval.excludes(0.0) for estimate in estimates) / studies


class TestPairedT:
    def test_agrees_with_scipy(self):
        a, b = np.random.default_rng(0).normal(size=(2, 7))
        for level in (0.9, 0.95):
            mine, theirs = st.paired_t(a - b, level=level), stats.ttest_rel(a, b)
            bounds = theirs.confidence_interval(level)
            assert mine.p_value == pytest.approx(theirs.pvalue, rel=1e-12)
            assert (mine.interval.low, mine.interval.high) == pytest.approx((bounds.low, bounds.high), rel=1e-12)
        assert (mine.mean, mine.sd, mine.n, mine.df) == pytest.approx(((a - b).mean(), (a - b).std(ddof=1), 7, 6))

    def test_one_difference_shows_nothing(self):
        estimate = st.paired_t([0.3])
        assert estimate.mean == 0.3
        assert math.isnan(estimate.p_value)
        assert math.isnan(estimate.interval.low)
        assert not estimate.interval.excludes(0.0)

    @pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0), (-0.7, 0.0)])
    def test_equal_differences_give_a_point(self, value, p):
        estimate = st.paired_t(np.array([value] * 3) + 1.0 - 1.0)
        assert estimate.p_value == p
        assert estimate.interval.low == estimate.interval.high == pytest.approx(value)

    def test_refuses_values_that_are_not_finite(self):
        with pytest.raises(DataError, match="not finite"):
            st.paired_t([0.1, math.nan])

    def test_coverage_at_five_seeds(self):
        draws, studies = np.random.default_rng(1).normal(size=(1500, 5)), 1500
        hits = sum(not st.paired_t(row).interval.excludes(0.0) for row in draws)
        assert covered_at_least(hits, studies, 0.95)
        assert covered_at_least(studies - hits, studies, 0.05)


class TestUnits:
    def test_average_by_unit_by_hand(self):
        scores = [[1.0, 0.0, 1.0, 1.0], [0.0, np.nan, np.nan, 1.0]]
        np.testing.assert_array_equal(st.average_by_unit(scores, ["b", "b", "a", "b"]), [[1.0, 2 / 3], [np.nan, 0.5]])

    def test_decompose_a_full_table(self):
        d = np.random.default_rng(2).normal(size=(5, 8))
        per_seed, per_unit, noise = st.decompose(d)
        np.testing.assert_allclose(per_seed, d.mean(axis=1))
        np.testing.assert_allclose(per_unit, d.mean(axis=0))
        residual = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) + d.mean()
        assert noise == pytest.approx((residual**2).sum() / (4 * 7) / (5 * 8))

    def test_decompose_with_splits_that_vary(self):
        d = np.array([[1.0, 3.0, np.nan, np.nan], [np.nan, 2.0, 6.0, np.nan]])
        per_seed, per_unit, _ = st.decompose(d)
        np.testing.assert_allclose(per_seed, [2.0, 4.0])
        by_hand = [
            3 + 1.5 * (-1 / 2),
            3 + 1.5 * (1 / 2 - 2 / 2),
            3 + 1.5 * (2 / 2),
        ]  # mean + U/S * sum of weighted residues
        np.testing.assert_allclose(per_unit, by_hand)
        assert per_unit.mean() == pytest.approx(per_seed.mean())

    def test_arms_must_be_tested_on_the_same_units(self):
        with pytest.raises(DataError, match="same units"):
            st.paired_differences([[1.0, np.nan]], [[1.0, 1.0]])
        with pytest.raises(DataError, match="shape"):
            st.paired_differences(np.zeros((5, 3)), np.zeros((5, 4)))


class TestPairedBootstrap:
    def test_agrees_with_scipy_where_units_are_many(self):
        a, b = np.random.default_rng(3).exponential(size=(2, 1, 300))
        mine = st.paired_bootstrap(a, b)
        theirs = stats.bootstrap(((a - b)[0],), np.mean, method="BCa", rng=0).confidence_interval
        assert (mine.interval.low, mine.interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)
        assert mine.p_value == pytest.approx(stats.ttest_1samp((a - b)[0], 0).pvalue, abs=0.02)

    def test_interval_and_p_value_agree(self):
        rng = np.random.default_rng(4)
        verdicts = set()
        for i in range(150):
            d = rng.normal(0.7, 1, (1, 9))
            estimate = st.paired_bootstrap(d, 0 * d, resamples=199, seed=i)
            assert estimate.interval.excludes(0.0) == (estimate.p_value <= 0.05)
            assert 1 / 200 <= estimate.p_value <= 1
            verdicts.add(estimate.interval.excludes(0.0))
        assert verdicts == {True, False}

    def test_averages_over_seeds_and_ignores_their_common_offset(self):
        d = np.random.default_rng(5).normal(size=(4, 12))
        offset = np.array([[1.0], [-1.0], [2.0], [-2.0]])
        mine, averaged = (
            st.paired_bootstrap(d + offset, 0 * d),
            st.paired_bootstrap(d.mean(axis=0)[None], np.zeros((1, 12))),
        )
        assert mine.interval.low == pytest.approx(averaged.interval.low)
        assert mine.p_value == averaged.p_value
        assert mine.standard_error == pytest.approx(d.mean(axis=0).std(ddof=1) / math.sqrt(12))

    def test_drawing_counts_is_drawing_units(self):
        values = np.repeat([-1.0, 0.0, 2.0], [5, 70, 25])  # 3 distinct of 100: counts are drawn
        tied = st._studentised((values - values.mean()) / values.std(ddof=1), 20_000, np.random.default_rng(6))
        nudged = values + 1e-7 * np.arange(100)
        apart = st._studentised((nudged - nudged.mean()) / nudged.std(ddof=1), 20_000, np.random.default_rng(7))
        assert np.quantile(tied, [0.5, 0.9, 0.95]) == pytest.approx(np.quantile(apart, [0.5, 0.9, 0.95]), rel=0.03)

    def test_distances_are_those_of_a_plain_bootstrap_t(self):
        values, rng = np.array([0.3, -1.0, 0.4, 2.0, -0.2, 0.9, 0.1]), np.random.default_rng(17)
        sample = values[rng.integers(7, size=(100_000, 7))]
        plain = np.abs(sample.mean(axis=1) - values.mean()) / (sample.std(axis=1, ddof=1) / math.sqrt(7))
        mine = st._studentised((values - values.mean()) / values.std(ddof=1), 100_000, rng)
        assert np.quantile(mine, [0.5, 0.9, 0.95]) == pytest.approx(np.quantile(plain, [0.5, 0.9, 0.95]), rel=0.03)

    def test_hardly_any_difference_shows_nothing(self):
        candidate = np.zeros((5, 200))
        candidate[:, :2] = 1.0
        estimate = st.paired_bootstrap(candidate, np.zeros((5, 200)))
        assert estimate.interval.high == math.inf
        assert estimate.p_value > 0.05
        same = st.paired_bootstrap(candidate, candidate)
        assert (same.mean, same.p_value, same.interval.low, same.interval.high) == (0.0, 1.0, 0.0, 0.0)

    def test_is_reproducible(self):
        d = np.random.default_rng(8).normal(size=(3, 10))
        assert st.paired_bootstrap(d, 0 * d) == st.paired_bootstrap(d, 0 * d)
        assert st.paired_bootstrap(d, 0 * d, seed=1) != st.paired_bootstrap(d, 0 * d)

    @pytest.mark.parametrize("units", [6, 10, 30])
    def test_coverage(self, units):
        rng = np.random.default_rng(units)
        shapes = {
            "normal": rng.standard_normal,
            "heavy tails": lambda n: rng.standard_t(3, n),
            "right or wrong, over 5 seeds": lambda n: (
                (rng.random((5, n)) < 0.2).mean(0) - (rng.random((5, n)) < 0.2).mean(0)
            ),
        }
        for name, draw in shapes.items():
            assert bootstrap_coverage(draw, units, 500) >= 0.93, name
        assert bootstrap_coverage(lambda n: rng.exponential(size=n) - 1, units, 500) >= 0.90  # Student's t: 0.89 at 6


class TestPairedBootstrapMetric:
    def test_of_a_mean_is_students_interval(self):
        d = np.random.default_rng(9).normal(size=(5, 20))
        mine = st.paired_bootstrap_metric(lambda rows: d[:, rows].mean(axis=1), np.arange(20), resamples=4000)
        assert mine.standard_error == pytest.approx(d.mean(axis=0).std(ddof=1) / math.sqrt(20), rel=0.05)
        assert mine.noise == pytest.approx(st.decompose(d)[2], rel=0.05)
        assert mine.p_value == pytest.approx(stats.ttest_1samp(d.mean(axis=0), 0).pvalue, abs=0.03)
        assert mine.mean == pytest.approx(d.mean())

    def test_keeps_the_rows_of_a_unit_together(self):
        values = np.random.default_rng(10).normal(size=6).repeat(50)
        units = np.arange(300).reshape(6, 50)
        mine = st.paired_bootstrap_metric(lambda rows: values[rows].mean(), list(units))
        assert mine.n == 6
        assert mine.standard_error == pytest.approx(values[::50].std(ddof=1) / math.sqrt(6), rel=0.1)

    def test_undefined_on_too_many_resamples(self):
        def difference(rows):
            return float(np.nan) if 0 not in rows else 0.1 * rows.mean()

        mine = st.paired_bootstrap_metric(difference, np.arange(8))
        assert math.isnan(mine.p_value)
        assert not mine.interval.excludes(0.0)

    def test_coverage_of_macro_f1(self):
        rng, studies = np.random.default_rng(11), 200
        hits = 0
        for i in range(studies):
            chance = rng.beta(4, 2, (12, 1))  # each subject is harder or easier for both models alike
            right = rng.random((2, 12, 30)) < chance
            labels = rng.random((12, 30)) < 0.3
            said = np.where(right, labels, ~labels).reshape(2, -1)
            truth = labels.ravel()

            def difference(rows, said=said, truth=truth):
                s, t = said[:, rows], truth[rows]
                both, total = (s & t).sum(1), s.sum(1) + t.sum()
                f1 = both / total + (len(rows) - total + both) / (2 * len(rows) - total)
                return f1[0] - f1[1]

            units = np.arange(360).reshape(12, 30)
            hits += not st.paired_bootstrap_metric(difference, units, resamples=100, seed=i).interval.excludes(0.0)
        assert covered_at_least(hits, studies, 0.95)


class TestJoint:
    def test_is_the_crossed_layout_by_hand(self):
        d = np.random.default_rng(12).normal(size=(5, 9)) + np.arange(9) + 2 * np.arange(5)[:, None]
        seeds, units = st.paired_t(d.mean(axis=1)), st.paired_bootstrap(d, 0 * d)
        both = st.joint(seeds, units)
        ms_seeds, ms_units = 9 * d.mean(1).var(ddof=1), 5 * d.mean(0).var(ddof=1)
        residual = d - d.mean(1, keepdims=True) - d.mean(0) + d.mean()
        variance = (ms_seeds + ms_units - (residual**2).sum() / 32) / 45
        assert both.standard_error == pytest.approx(math.sqrt(variance))
        assert both.df == pytest.approx((45 * variance) ** 2 / (ms_seeds**2 / 4 + ms_units**2 / 8))
        assert both.mean == pytest.approx(d.mean())

    def test_is_no_surer_than_either_source(self):
        rng = np.random.default_rng(13)
        for _ in range(50):
            d = (
                rng.normal(size=(5, 6))
                + rng.normal(size=6) * rng.integers(2)
                + rng.normal(size=(5, 1)) * rng.integers(2)
            )
            seeds, units = st.paired_t(d.mean(axis=1)), st.paired_bootstrap(d, 0 * d, resamples=20)
            both = st.joint(seeds, units)
            assert both.standard_error >= max(seeds.standard_error, units.standard_error)
            assert both.df >= 4


class TestEquivalence:
    def test_is_two_one_sided_tests(self):
        d = np.array([0.4, -0.3, 0.1, 0.2, 0.5, -0.1])
        sides = (stats.ttest_1samp(d, -1.0, alternative="greater"), stats.ttest_1samp(d, 1.0, alternative="less"))
        assert st.equivalence(d, 1.0) == pytest.approx(max(side.pvalue for side in sides))
        assert st.equivalence(-d, 1.0) == pytest.approx(st.equivalence(d, 1.0))

    def test_edges(self):
        assert st.equivalence([0.1, 0.1, 0.1], 0.2) == 0.0
        assert st.equivalence([0.3, 0.3, 0.3], 0.2) == 1.0
        assert math.isnan(st.equivalence([0.3], 1.0))
        with pytest.raises(DataError, match="margin"):
            st.equivalence([0.3, 0.1], 0.0)

    def test_error_at_the_margin(self):
        draws = np.random.default_rng(14).normal(1.0, 0.3, size=(2000, 6))
        claims = sum(st.equivalence(row, 1.0) <= 0.05 for row in draws)
        assert covered_at_least(2000 - claims, 2000, 0.95)
        assert covered_at_least(claims, 2000, 0.05)


class TestSmallestDetectable:
    @pytest.mark.parametrize(("n", "in_sd"), [(5, 1.68), (10, 1.00)])
    def test_known_values(self, n, in_sd):
        assert st.smallest_detectable(2.0, n) == pytest.approx(2 * in_sd, abs=0.01)

    @pytest.mark.parametrize(
        ("n", "power", "alpha"), [(2, 0.95, 0.01), (3, 0.8, 0.05), (6, 0.9, 0.05), (20, 0.8, 0.01), (400, 0.8, 0.05)]
    )
    def test_has_that_power(self, n, power, alpha):
        shift, critical = (
            st.smallest_detectable(1, n, power=power, alpha=alpha) * math.sqrt(n),
            stats.t.isf(alpha / 2, n - 1),
        )
        assert stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift) == pytest.approx(power)

    def test_edges(self):
        assert st.smallest_detectable(0.0, 5) == 0.0
        assert math.isnan(st.smallest_detectable(1.0, 1))
        assert st.smallest_detectable(1.0, 10**6) == pytest.approx(2.8016e-3, rel=1e-3)


class TestHolm:
    def test_by_hand(self):
        np.testing.assert_allclose(st.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(st.holm([0.6, 0.9, 0.7]), [1.0, 1.0, 1.0])
        np.testing.assert_allclose(st.holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])
        assert st.holm([]).shape == (0,)

    def test_lies_between_nothing_and_bonferroni(self):
        p = np.random.default_rng(15).random(20) ** 3
        adjusted = st.holm(p)
        assert (adjusted >= p).all()
        assert (adjusted <= np.minimum(20 * p, 1)).all()
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
        assert adjusted.min() == pytest.approx(20 * p.min())


class TestGapRecovered:
    def test_interval_holds_the_ratios_that_a_t_test_keeps(self):
        alone, gap = np.array([80.0, 81.0, 79.0, 80.5, 79.5]), np.array([5.0, 5.5, 4.6, 5.1, 4.8])
        distilled = alone + np.array([2.0, 2.4, 1.9, 2.6, 2.3])
        ratio = st.gap_recovered(distilled, alone, alone + gap)
        assert ratio.value == pytest.approx(2.24 / 5.0)
        for end in (ratio.interval.low, ratio.interval.high):
            assert stats.ttest_1samp(distilled - alone - end * gap, 0).pvalue == pytest.approx(0.05)
        assert ratio.interval.low < ratio.value < ratio.interval.high

    def test_no_interval_where_the_gap_is_unclear(self):
        alone, noise = np.zeros(5), np.array([3.0, -2.0, 1.0, -1.5, 0.5])
        assert st.gap_recovered(alone + 1, alone, noise).interval is None
        assert "not clearly" in st.gap_recovered(alone + 1, alone, noise).reason
        weak = st.gap_recovered(alone + 1, alone, alone - 1)
        assert math.isnan(weak.value)
        assert "no gap" in weak.reason

    def test_a_loss_is_turned_round(self):
        alone, distilled, teacher = np.array([[1.0, 1.1, 0.9, 1.0], [0.8, 0.8, 0.75, 0.8], [0.5, 0.4, 0.5, 0.6]])
        assert st.gap_recovered(distilled, alone, teacher, higher_is_better=False) == st.gap_recovered(
            -distilled, -alone, -teacher
        )

    def test_coverage(self):
        rng, studies = np.random.default_rng(16), 2000
        hits = 0
        for _ in range(studies):
            alone = rng.normal(0, 1, 5)
            ratio = st.gap_recovered(0.4 * 4 + rng.normal(0, 0.5, 5), alone, 4 + rng.normal(0, 0.5, 5))
            hits += ratio.interval is None or not ratio.interval.excludes(0.4)
        assert covered_at_least(hits, studies, 0.95)
        assert covered_at_least(studies - hits, studies, 0.05)
