"""Verdicts: the rule by example, and by simulated studies how often it is wrong.

A study draws S seeds and U test units; its difference per seed and unit is seed effect + unit effect + noise, all of
mean 0 over the population, so every "better" or "worse" is false. Bounds are binomial: a rule at 5 % exceeds them once
in 1000 runs.
"""

import json
import math

import numpy as np
import pytest
from scipy import stats

from mmkd.errors import DataError
from mmkd.evaluation import statistics as st
from mmkd.evaluation import verdicts
from mmkd.evaluation.verdicts import adjust, compare

STUDIES = 1000
MOST_FALSE = stats.binom.ppf(0.999, STUDIES, 0.05)


def draw(rng, seeds, units, *, seed_sd=0.0, unit_sd=0.0, noise_sd=1.0):
    """Differences `[S, U]` of one study without an effect."""
    per_seed, per_unit = rng.normal(0, seed_sd, (seeds, 1)), rng.normal(0, unit_sd, (1, units))
    return per_seed + per_unit + rng.normal(0, noise_sd, (seeds, units))


def judge(differences, *, resamples=199, **options):
    """The verdict on `[S, U]` differences, as the only comparison of a report."""
    baseline = np.where(np.isnan(differences), np.nan, 0.5)
    options = {"metric": "accuracy", "resamples": resamples} | options
    comparison = compare(
        "distilled", "alone", candidate_scores=baseline + differences, baseline_scores=baseline, **options
    )
    return adjust([comparison])[0]


def count(studies):
    """False verdicts of the rule, of seeds alone, and of seeds and units without `joint`."""
    rule = seeds = both = 0
    for differences in studies:
        comparison = judge(differences)
        rule += comparison.verdict in ("better", "worse")
        seeds += comparison.seeds.p_value <= 0.05
        both += max(comparison.seeds.p_value, comparison.units.p_value) <= 0.05
    return rule, seeds, both


class TestFalseVerdicts:
    def test_independent_noise(self):
        rng = np.random.default_rng(0)
        rule, seeds, _ = count(draw(rng, 5, 100) for _ in range(STUDIES))
        assert rule <= MOST_FALSE
        assert seeds <= MOST_FALSE

    def test_one_fixed_test_set(self):
        """430 clips on which one arm happens to be stronger: seeds alone take the clips' luck for an effect."""
        rng = np.random.default_rng(1)
        studies = [draw(rng, 5, 430, seed_sd=0.01, unit_sd=0.5, noise_sd=0.4) for _ in range(STUDIES)]
        rule, seeds, _ = count(studies)
        assert seeds >= 0.3 * STUDIES
        assert rule <= MOST_FALSE

    @pytest.mark.parametrize("units", [6, 12])
    def test_few_units(self, units):
        rng = np.random.default_rng(units)
        rule, *_ = count(draw(rng, 5, units, unit_sd=1.0, noise_sd=0.3) for _ in range(STUDIES))
        assert rule <= MOST_FALSE

    def test_few_skewed_units_are_a_known_limit(self):
        """Exponential units, 8 of them: no interval for a mean held 95 % here; ours comes nearer than Student's."""
        rng = np.random.default_rng(2)
        studies = [draw(rng, 5, 8) + rng.exponential(2.0, (1, 8)) - 2.0 for _ in range(STUDIES)]
        students = sum(st.paired_t(d.mean(axis=0)).p_value <= 0.05 for d in studies)
        ours = sum(st.paired_bootstrap(d, 0 * d, resamples=399).p_value <= 0.05 for d in studies)
        assert students > MOST_FALSE
        assert ours < 0.8 * students

    def test_seeds_and_units_that_matter_alike(self):
        """Each source of variation sees half of the variance: demanding both of them is not enough."""
        rng = np.random.default_rng(3)
        size = {"seed_sd": 0.3, "unit_sd": 0.3 * math.sqrt(2), "noise_sd": 0.2}
        rule, _, both = count(draw(rng, 20, 40, **size) for _ in range(STUDIES))
        assert both > MOST_FALSE
        assert rule <= MOST_FALSE

    def test_splits_that_vary(self):
        """Each seed tests 60 of 150 units, as with one random split per seed."""
        rng = np.random.default_rng(4)

        def study():
            d = draw(rng, 6, 150, unit_sd=1.0, noise_sd=0.5)
            hidden = rng.random(d.shape).argsort(axis=1) >= 60
            return np.where(hidden, np.nan, d)

        rule, *_ = count(study() for _ in range(STUDIES))
        assert rule <= MOST_FALSE

    def test_a_family_of_six(self):
        """Six methods against one `alone`: any false verdict in the report counts."""
        rng, wrong, unadjusted = np.random.default_rng(5), 0, 0
        for _ in range(STUDIES):
            alone = draw(rng, 5, 20, unit_sd=0.5)
            methods = [draw(rng, 5, 20, unit_sd=0.5) for _ in range(6)]
            report = [
                compare("m", "alone", candidate_scores=m, baseline_scores=alone, metric="score", resamples=199)
                for m in methods
            ]
            wrong += any(c.verdict in ("better", "worse") for c in adjust(report))
            unadjusted += any(c.verdict in ("better", "worse") for c in report)
        assert unadjusted > MOST_FALSE
        assert wrong <= MOST_FALSE


class TestPower:
    def test_a_clear_effect_is_found(self):
        rng = np.random.default_rng(6)
        found = [judge(0.5 + draw(rng, 10, 100, seed_sd=0.1, unit_sd=0.5)).verdict for _ in range(100)]
        assert found.count("better") >= 99

    def test_the_smallest_detectable_effect_is_found_about_as_often_as_said(self):
        rng, d = np.random.default_rng(7), draw(np.random.default_rng(8), 8, 200, seed_sd=0.1, noise_sd=0.1)
        size = judge(d - d.mean()).smallest_detectable * 0.1 / d.mean(axis=1).std(ddof=1)  # at the true sd
        found = sum(judge(size + draw(rng, 8, 200, seed_sd=0.1, noise_sd=0.1)).verdict == "better" for _ in range(200))
        assert 0.7 <= found / 200 <= 0.9


class TestVerdict:
    rng = np.random.default_rng(9)
    noise = rng.normal(0, 0.01, (6, 20))

    def test_better_and_worse(self):
        better, worse = judge(0.05 + self.noise), judge(-0.05 + self.noise)
        assert (better.verdict, worse.verdict) == ("better", "worse")
        assert better.difference > 0 > worse.difference
        assert "distilled beats alone" in better.reason
        assert "distilled falls below alone" in worse.reason
        assert better.p_value == max(better.seeds.p_value, better.units.p_value, better.joint.p_value)

    def test_a_loss_is_oriented(self):
        lower = judge(-0.05 + self.noise, metric="mae", higher_is_better=False)
        assert lower.verdict == "better"
        assert lower.difference == pytest.approx(0.05, abs=0.01)
        assert lower.units.mean == pytest.approx(lower.difference)
        assert judge(0.05 + self.noise, metric="mae", higher_is_better=False).verdict == "worse"

    def test_units_alone_or_seeds_alone_do_not_suffice(self):
        units = 0.05 + np.linspace(-1, 1, 20) + self.noise
        seeds = 0.05 + np.linspace(-1, 1, 6)[:, None] + self.noise
        assert judge(units).verdict == judge(seeds).verdict == "inconclusive"
        assert judge(units).seeds.interval.excludes(0.0)
        assert judge(seeds).units.interval.excludes(0.0)
        assert "choice of test units" in judge(units).reason
        assert "choice of seeds" in judge(seeds).reason

    def test_too_few(self):
        assert judge(0.05 + self.noise[:4]).reason == "4 seeds, and a verdict needs 5"
        few = judge(0.05 + self.noise[:, :5], unit="subject")
        assert few.verdict == "none"
        assert few.reason == "5 independent test units (subject), and a verdict needs 6"
        assert judge(0.05 + self.noise[:5, :6]).verdict == "better"
        assert judge(0.05 + self.noise[:1]).verdict == "none"

    def test_margin(self):
        same = judge(self.noise, margin=0.02)
        assert same.verdict == "no difference beyond the margin"
        assert same.equivalence == pytest.approx(st.equivalence_of(same.joint, 0.02))
        assert judge(self.noise).verdict == "inconclusive"
        assert judge(self.noise + np.linspace(-0.1, 0.1, 20), margin=0.02).verdict == "inconclusive"  # units disagree
        assert judge(self.noise + np.linspace(-0.1, 0.1, 6)[:, None], margin=0.02).verdict == "inconclusive"  # seeds do
        small = judge(0.01 + self.noise, margin=0.05)
        assert small.verdict == "better"
        assert "less than the margin of 0.05" in small.reason

    def test_inconclusive_says_what_would_be_found(self):
        result = judge(self.noise)
        worst = max(st.smallest_detectable(e.standard_error * math.sqrt(e.df + 1), e.df + 1) for e in result.estimates)
        assert result.smallest_detectable == worst
        assert f"{worst:.3g} accuracy would be found with 80 % power" in result.reason

    def test_holm_can_take_a_verdict_back(self):
        weak = judge(0.006 + 0.03 * np.random.default_rng(10).permuted(np.linspace(-1, 1, 120)).reshape(6, 20))
        report = adjust([weak] + [judge(self.noise)] * 5)
        assert 0.05 / 6 < weak.p_value <= 0.05
        assert weak.verdict == "better"
        assert report[0].verdict == "inconclusive"
        assert report[0].p_adjusted == pytest.approx(6 * weak.p_value)
        assert "by Holm over 6 comparisons" in report[0].reason
        untested = judge(0.05 + self.noise[:3])  # too few seeds: not in the family
        assert math.isnan(untested.p_value)
        assert untested.p_adjusted is None
        assert adjust([weak, untested])[0].p_adjusted == weak.p_value

    def test_adjusting_twice_changes_nothing(self):
        report = adjust([judge(0.01 + self.noise), judge(self.noise), judge(self.noise[:3])])
        assert [c.to_json() for c in adjust(report)] == [c.to_json() for c in report]

    def test_marks(self):
        marked = judge(0.05 + self.noise, single_graph=True, budget="published", extended=True)
        assert marked.notes == ["on this graph", "published budget", "extended after the first look"]
        assert marked.reason.endswith("(on this graph; published budget; extended after the first look)")
        assert judge(0.05 + self.noise).notes == []

    def test_folds(self):
        folds = np.array([0.04, 0.05, 0.06, 0.05, 0.03])
        result = judge(folds, folds=True)
        assert (result.verdict, result.n_seeds, result.n_units, result.units) == ("better", 5, 0, None)
        assert result.p_value == pytest.approx(stats.ttest_1samp(folds, 0).pvalue)
        assert "approximate" in result.reason
        assert judge(folds[:4], folds=True).reason == "4 folds, and a verdict needs 5"
        own = np.full((5, 15), np.nan)  # each fold tests its own three units
        for i, value in enumerate(folds):
            own[i, 3 * i : 3 * i + 3] = value
        assert judge(own, folds=True).p_value == pytest.approx(result.p_value)

    def test_metric_that_is_no_mean_over_units(self):
        per_unit = np.concatenate([0.05 + self.noise, 0.0 * self.noise])  # six seeds of both arms
        arms = per_unit[:6], per_unit[6:]

        def difference(rows):
            return np.median(arms[0][:, rows], axis=1) - np.median(arms[1][:, rows], axis=1)

        units = st.paired_bootstrap_metric(difference, np.arange(20))
        scores = {"candidate_scores": np.median(arms[0], axis=1), "baseline_scores": np.median(arms[1], axis=1)}
        result = compare("distilled", "alone", **scores, metric="median", units=units)
        assert (result.verdict, result.n_units) == ("better", 20)
        turned = compare("distilled", "alone", **scores, metric="median", units=units, higher_is_better=False)
        assert turned.verdict == "worse"
        assert turned.units.interval.high < 0
        assert compare("distilled", "alone", **scores, metric="median").verdict == "none"

    def test_opposite_signs_give_no_verdict(self):
        units = st.paired_bootstrap(-0.05 + self.noise, 0 * self.noise)
        scores = {"candidate_scores": np.linspace(0.04, 0.06, 6), "baseline_scores": np.zeros(6)}
        assert compare("a", "b", **scores, metric="f1", units=units).verdict == "inconclusive"

    def test_is_json(self):
        one = judge(0.05 + self.noise[:1])
        text = json.dumps(one.to_json(), allow_nan=False)
        assert json.loads(text)["seeds"]["interval"]["low"] is None
        assert set(json.loads(text)) == set(verdicts.Comparison.__dataclass_fields__)

    def test_refuses_unpaired_scores(self):
        with pytest.raises(DataError, match="shape"):
            compare("a", "b", candidate_scores=np.zeros((5, 6)), baseline_scores=np.zeros((6, 6)), metric="f1")
        with pytest.raises(DataError, match="both given"):
            compare(
                "a",
                "b",
                candidate_scores=self.noise,
                baseline_scores=self.noise,
                metric="f1",
                units=st.paired_bootstrap(self.noise, self.noise),
            )
