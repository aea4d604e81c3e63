"""From paired scores to a verdict in words.

"Better" and "worse" are intersection-union tests: the difference must show over seeds, over independent test units and
over both at once (see `statistics.joint`), on the same side, after Holm's adjustment over every comparison in the
report. So a report's chance of one false verdict is at most 5 %, whether training luck or the choice of test subjects
is what varies most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mmkd.errors import DataError
from mmkd.evaluation import statistics
from mmkd.evaluation.statistics import Estimate, Interval

Verdict = Literal["better", "worse", "no difference beyond the margin", "inconclusive", "none"]

ALPHA = 0.05
MIN_SEEDS = 5
MIN_UNITS = 6
_SPLITS = "the test units differ between seeds"


@dataclass(frozen=True)
class Comparison:
    """What one candidate showed against one baseline on one metric. Differences are oriented: positive means the
    candidate is better.

    Arguments:
        candidate, baseline, metric: names.
        higher_is_better: of the metric as scored.
        difference: mean oriented difference, in the metric's unit.
        seeds: over seeds (or folds), on these test units.
        units: over independent test units, with these seeds; None for folds or where no scores per unit were given.
        joint: over both at once; None where `units` is.
        unit: what an independent test unit is: "sample", "subject", "drive".
        n_seeds, n_units: how many; `n_units` is 0 where unknown.
        margin: the largest difference that does not matter, or None.
        equivalence: p-value of "differs by the margin or more", the largest over seeds, units and joint; not adjusted
            by Holm.
        smallest_detectable: true difference found with 80 % power before Holm, the largest over seeds, units and joint.
        p_value: the largest over seeds, units and joint; NaN where no verdict is possible.
        p_adjusted: after Holm over the report (`adjust`); None before.
        family: how many comparisons Holm adjusted for.
        folds: the differences are one per fold.
        verdict: the word.
        reason: one sentence.
        notes: what a reader has to know besides.
    """

    candidate: str
    baseline: str
    metric: str
    higher_is_better: bool
    difference: float
    seeds: Estimate
    units: Estimate | None
    joint: Estimate | None
    unit: str
    n_seeds: int
    n_units: int
    margin: float | None
    equivalence: float | None
    smallest_detectable: float
    p_value: float
    p_adjusted: float | None = None
    family: int = 1
    folds: bool = False
    verdict: Verdict = "none"
    reason: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def estimates(self) -> list[Estimate]:
        """Every estimate that has to agree."""
        return [estimate for estimate in (self.seeds, self.units, self.joint) if estimate is not None]

    def to_json(self) -> dict[str, Any]:
        """`dataclasses.asdict`, with None for numbers that JSON has not (NaN, infinity)."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        """What `to_json` gave, with NaN for its None: an end at infinity is one that excludes nothing either."""

        def estimate(held: Mapping[str, Any] | None) -> Estimate | None:
            if held is None:
                return None
            numbers: dict[str, Any] = {name: math.nan if number is None else number for name, number in held.items()}
            ends = {name: math.nan if end is None else end for name, end in held["interval"].items()}
            return Estimate(**{**numbers, "interval": Interval(**ends)})

        known: dict[str, Any] = {name: estimate(value[name]) for name in ("seeds", "units", "joint")}
        numbers = ("difference", "smallest_detectable", "p_value")
        known |= {name: math.nan if value[name] is None else value[name] for name in numbers}
        return cls(**{**value, **known})


def compare(
    candidate: str,
    baseline: str,
    *,
    candidate_scores: ArrayLike,
    baseline_scores: ArrayLike,
    metric: str,
    higher_is_better: bool = True,
    unit: str = "sample",
    units: Estimate | None = None,
    margin: float | None = None,
    folds: bool = False,
    single_graph: bool = False,
    budget: Literal["matched", "published"] = "matched",
    extended: bool = False,
    resamples: int = 4000,
    seed: int = 0,
) -> Comparison:
    """Compare two arms that share seeds and test units.

    Arguments:
        candidate, baseline: names of the arms.
        candidate_scores, baseline_scores: `[S, U]`, the score of each independent unit under each seed (NaN where it
            was not tested; samples of one subject are first averaged by `statistics.average_by_unit`). Or `[S]`, the
            metric's value per seed, for a metric that is no mean over units; then give `units`.
        metric: its name.
        higher_is_better: of the metric as scored.
        unit: what a column is.
        units: for `[S]` scores, `statistics.paired_bootstrap_metric` of candidate - baseline as scored, not oriented.
        margin: the largest difference that does not matter; None tests no equivalence.
        folds: rows are folds of one cross-validation, each with its own test units: one difference per fold,
            approximate, no units.
        single_graph: the units are nodes of one graph, so nothing is said about others.
        budget: "published" marks a recipe that keeps a paper's budget instead of giving every arm the same.
        extended: seeds were added after a first look at the result.
        resamples, seed: of the bootstrap over units.

    Returns:
        The comparison with its verdict as if it were the report's only one; `adjust` the list of all of them.
    """
    sign = 1.0 if higher_is_better else -1.0
    per_seed, over_units = _sources(candidate_scores, baseline_scores, units, folds, sign, resamples, seed)
    over_seeds = statistics.paired_t(per_seed)
    both = statistics.joint(over_seeds, over_units) if over_units else None
    estimates = [estimate for estimate in (over_seeds, over_units, both) if estimate is not None]
    comparison = Comparison(
        candidate=candidate,
        baseline=baseline,
        metric=metric,
        higher_is_better=higher_is_better,
        difference=over_seeds.mean,
        seeds=over_seeds,
        units=over_units,
        joint=both,
        unit=unit,
        n_seeds=over_seeds.n,
        n_units=over_units.n if over_units else 0,
        margin=margin,
        equivalence=None if margin is None else _largest(statistics.equivalence_of(e, margin) for e in estimates),
        smallest_detectable=_largest(_detectable(e) for e in estimates),
        p_value=_largest(e.p_value for e in estimates),
        folds=folds,
        notes=_notes(candidate_scores, over_seeds, folds, single_graph, budget, extended),
    )
    if _obstacle(comparison):
        comparison = replace(comparison, p_value=math.nan)
    return _decide(comparison)


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm over all comparisons of a report, and their verdicts anew.

    Comparisons that can have no verdict (too few seeds or units, which is known before any score) do not count.
    """
    adjusted = statistics.holm([comparison.p_value for comparison in comparisons])
    family = int(np.count_nonzero(~np.isnan(adjusted)))
    return [
        _decide(replace(comparison, p_adjusted=None if math.isnan(p) else float(p), family=max(family, 1)))
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]


def _sources(
    candidate: ArrayLike,
    baseline: ArrayLike,
    units: Estimate | None,
    folds: bool,
    sign: float,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, Estimate | None]:
    """Oriented per-seed differences `[S]`, and the estimate over units."""
    left, right = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if left.shape != right.shape or left.ndim not in (1, 2):
        raise DataError(
            f"candidate scores have shape {left.shape}, baseline scores {right.shape}", "need [S] or [S, U], paired"
        )
    if left.ndim == 1:
        return sign * (left - right), _oriented(units, sign) if units and not folds else None
    if units is not None:
        raise DataError(
            "scores per unit and an estimate over units were both given", "give the estimate only with scores [S]"
        )
    per_seed = statistics.decompose(statistics.paired_differences(left, right))[0]
    if folds:
        return sign * per_seed, None
    return sign * per_seed, statistics.paired_bootstrap(sign * left, sign * right, resamples=resamples, seed=seed)


def _oriented(estimate: Estimate, sign: float) -> Estimate:
    if sign > 0:
        return estimate
    interval = Interval(-estimate.interval.high, -estimate.interval.low, estimate.interval.level)
    return replace(estimate, mean=-estimate.mean, interval=interval)


def _largest(values: Iterable[float]) -> float:
    """The largest, or NaN where one is NaN."""
    return float(np.max(list(values)))


def _detectable(estimate: Estimate) -> float:
    n = estimate.df + 1
    return statistics.smallest_detectable(estimate.standard_error * math.sqrt(n), n)


def _notes(
    scores: ArrayLike, seeds: Estimate, folds: bool, single_graph: bool, budget: str, extended: bool
) -> list[str]:
    said = {
        "approximate: one difference per fold, and folds share training data": folds,
        "on this graph": single_graph,
        "published budget": budget == "published",
        "extended after the first look": extended,
        _SPLITS: not folds and bool(np.isnan(np.asarray(scores, dtype=np.float64)).any()),
        "every seed gave the same difference": seeds.sd == 0,
    }
    return [note for note, holds in said.items() if holds]


def _obstacle(comparison: Comparison) -> str:
    """Why there can be no verdict, or nothing."""
    what = ("fold" if comparison.folds else "seed") + "s" * (comparison.n_seeds != 1)
    if comparison.n_seeds < MIN_SEEDS:
        return f"{comparison.n_seeds} {what}, and a verdict needs {MIN_SEEDS}"
    if comparison.folds:
        return ""
    if comparison.units is None:
        return "no scores per test unit, and a verdict needs both seeds and units"
    if comparison.n_units < MIN_UNITS:
        return f"{comparison.n_units} independent test units ({comparison.unit}), and a verdict needs {MIN_UNITS}"
    if any(math.isnan(estimate.p_value) for estimate in comparison.estimates):
        return f"{comparison.metric} is undefined on too many resamples of the test units"
    return ""


def _decide(comparison: Comparison) -> Comparison:
    verdict, reason = _judge(comparison)
    qualifiers = [note for note in comparison.notes if note != _SPLITS]
    if verdict != "none" and qualifiers:
        reason = f"{reason} ({'; '.join(qualifiers)})"
    return replace(comparison, verdict=verdict, reason=reason)


def _judge(c: Comparison) -> tuple[Verdict, str]:
    if obstacle := _obstacle(c):
        return "none", obstacle
    p = c.p_value if c.p_adjusted is None else c.p_adjusted
    how = (
        "before Holm's adjustment"
        if c.p_adjusted is None
        else f"by Holm over {c.family} comparison{'s' * (c.family != 1)}"
    )
    sources = f"{c.n_seeds} folds" if c.folds else f"{c.n_seeds} seeds and {c.n_units} test units ({c.unit})"
    side = {math.copysign(1.0, e.mean) for e in c.estimates}
    apart = [e.interval.excludes(0.0) for e in c.estimates]
    if all(apart) and len(side) == 1 and p <= ALPHA:
        verb = "beats" if c.difference > 0 else "falls below"
        small = c.equivalence is not None and c.equivalence <= ALPHA
        within = f", though by less than the margin of {c.margin:g}" if small else ""
        said = f"{c.candidate} {verb} {c.baseline} by {abs(c.difference):.3g} {c.metric} over {sources}"
        return "better" if c.difference > 0 else "worse", f"{said}, p = {p:.2g} {how}{within}"
    if c.equivalence is not None and c.equivalence <= ALPHA:
        said = f"{c.candidate} and {c.baseline} differ by less than {c.margin:g} {c.metric} over {sources}"
        return "no difference beyond the margin", f"{said}, p = {c.equivalence:.2g} by two one-sided tests"
    power = f"a true difference of {c.smallest_detectable:.3g} {c.metric} would be found with 80 % power"
    return "inconclusive", f"{_missing(c, apart, p, how)} over {sources}; {power}"


def _missing(c: Comparison, apart: list[bool], p: float, how: str) -> str:
    """What kept a difference from being shown."""
    size = f"the mean difference of {c.difference:.3g}"
    if all(apart) and p > ALPHA:
        return f"{size} has p = {p:.2g} {how}"
    if len(apart) > 1 and apart[0] and not apart[1]:
        return f"{size} shows over seeds, but might be due to the choice of test units,"
    if len(apart) > 1 and apart[1] and not apart[0]:
        return f"{size} shows over test units, but might be due to the choice of seeds,"
    if len(apart) > 1 and all(apart[:2]):
        return f"{size} shows over seeds and over test units, but not over both at once,"
    return f"{size} does not differ from 0"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
