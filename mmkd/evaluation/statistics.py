"""What paired scores can and cannot show: small pure functions on numpy arrays.

Every function works on *differences* candidate - baseline that are paired: the same seed, the same test unit. Two
things are sampled in an experiment, seeds (S) and independent test units (U: subjects, drives, or single samples), and
both limit what it shows. `paired_t` answers for other seeds on this test set, `paired_bootstrap` for other test units
with these seeds, and `joint` for both at once. A score that is NaN means "this unit was not tested under this seed"
(splits that vary with the seed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from mmkd.errors import DataError

Array = NDArray[np.float64]

_SAME = 1e-12  # differences closer than this, relative to the largest, count as equal: scores carry rounding
_CHUNK = 200_000  # elements drawn at once by the bootstrap


@dataclass(frozen=True)
class Interval:
    """A confidence interval [low, high]; both ends NaN where none can be given."""

    low: float
    high: float
    level: float

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside; an interval that is NaN excludes nothing."""
        return bool(value < self.low or value > self.high)


@dataclass(frozen=True)
class Estimate:
    """A mean paired difference with its uncertainty from one source of variation.

    Arguments:
        mean: the mean difference, in the metric's unit.
        sd: standard deviation of the n differences (n - 1 in the denominator).
        n: how many differences: seeds, units, or seed-unit pairs of a `joint` estimate.
        interval: two-sided confidence interval of the mean.
        p_value: two-sided, of "the mean difference is 0".
        standard_error: of the mean.
        df: degrees of freedom of `standard_error`.
        noise: the part of `standard_error`**2 that is seed-by-unit noise, hence also part of the other source's; 0 if
            unknown.
    """

    mean: float
    sd: float
    n: int
    interval: Interval
    p_value: float
    standard_error: float
    df: float
    noise: float = 0.0


@dataclass(frozen=True)
class Ratio:
    """A ratio of means; `interval` is None where it would be unbounded or mean nothing, and `reason` then says why."""

    value: float
    interval: Interval | None
    reason: str = ""


def paired_t(differences: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Student's paired t.

    Arguments:
        differences: `[n]`, candidate - baseline, one per seed (or fold).
        level: of the interval.

    Returns:
        The estimate. n = 1 gives NaN for everything but the mean. Differences that are all equal give a point as
        interval, and p = 1 if they are 0, else 0.
    """
    values = _finite_vector(differences, "differences")
    sd = _sd(values)
    return _student(float(values.mean()), sd, len(values), sd / math.sqrt(len(values)), len(values) - 1.0, level)


def average_by_unit(scores: ArrayLike, units: ArrayLike) -> Array:
    """Mean score of each independent unit: a subject with 900 windows then weighs as much as one with 30.

    Arguments:
        scores: `[S, N]`, one score per seed and sample; NaN where a sample was not tested under a seed.
        units: `[N]`, the unit that each sample belongs to.

    Returns:
        `[S, U]`, units in the order of `numpy.unique`; NaN where none of a unit's samples was tested under a seed.
    """
    values, names = np.asarray(scores, dtype=np.float64), np.asarray(units)
    if values.ndim != 2 or names.shape != values.shape[1:]:
        raise DataError(
            f"scores of shape {values.shape} do not match units of shape {names.shape}", "need [S, N] and [N]"
        )
    _, index = np.unique(names, return_inverse=True)
    tested = ~np.isnan(values)
    filled = np.where(tested, values, 0.0)
    count, width = index.max() + 1, len(values)
    sums = np.stack([np.bincount(index, filled[s], minlength=count) for s in range(width)])
    counts = np.stack([np.bincount(index, tested[s], minlength=count) for s in range(width)])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def decompose(differences: ArrayLike) -> tuple[Array, Array, float]:
    """Split paired differences into what each seed and each unit contributes to their mean.

    The mean is the mean over seeds of each seed's mean over the units tested under it. With every unit tested under
    every seed a unit's contribution is its seed-averaged difference; otherwise it is the linearised contribution to a
    mean of ratios (Taylor linearisation, Cochran 1977, Sampling Techniques, 6.4). The noise is the mean's variance from
    the residual mean square of the two-way layout, MS(seed x unit) / (S U).

    Arguments:
        differences: `[S, U]`, NaN where a unit was not tested under a seed.

    Returns:
        per seed `[S]`, per unit `[units tested]` (the same mean), and the noise.
    """
    values = _matrix(differences, "differences")
    values = values[:, ~np.isnan(values).all(axis=0)]
    tested = ~np.isnan(values)
    if not tested.any(axis=1).all():
        raise DataError("a seed has no tested unit", "leave that seed out of both arms")
    per_seed = np.nanmean(values, axis=1)
    seeds, units = values.shape
    weight = tested / tested.sum(axis=1, keepdims=True)
    centred = np.where(tested, values - per_seed[:, None], 0.0)
    per_unit = per_seed.mean() + units / seeds * (weight * centred).sum(axis=0)
    residual = np.where(tested, centred - centred.sum(axis=0) / tested.sum(axis=0), 0.0)
    cells, free = int(tested.sum()), int(tested.sum()) - seeds - units + 1
    noise = ((weight * residual) ** 2).sum() / seeds**2 * cells / free if free > 0 else 0.0
    return per_seed, per_unit, float(noise)


def paired_bootstrap(
    candidate: ArrayLike, baseline: ArrayLike, *, resamples: int = 4000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Symmetric bootstrap-t over independent units of the seed-averaged difference.

    Units (columns) are resampled, never samples or seeds. The percentile bootstrap undercovers with few units
    (simulated, normal differences: 87 % at U = 6, 91 % at U = 10), Student's t with skewed ones (exponential: 89 % at U
    = 6). The symmetric studentised interval, mean +- c se with c the quantile of |mean* - mean| / se*, held 97 and 93 %
    there (Hall 1988, On symmetric bootstrap confidence intervals, JRSS B 50). A resample without spread counts as
    infinitely far out, so where hardly any unit differs the interval can be infinite: the data then show nothing.

    Arguments:
        candidate: `[S, U]` scores; NaN where a unit was not tested under a seed.
        baseline: `[S, U]` scores of the baseline, same seeds and units.
        resamples: how many; the smallest possible p-value is 1 / (resamples + 1).
        seed: of the resampling.
        level: of the interval.

    Returns:
        The estimate over units. Its p-value inverts the interval, with one added to both counts (Davison & Hinkley
        1997, eq. 4.11).
    """
    _, values, noise = decompose(paired_differences(candidate, baseline))
    units, mean, sd = len(values), float(values.mean()), _sd(values)
    error, df = sd / math.sqrt(units), units - 1.0
    if not sd > 0:
        return _student(mean, sd, units, error, df, level)
    distance = np.sort(_studentised((values - mean) / sd, resamples, np.random.default_rng(seed)))
    allowed = int((1 - level) * (resamples + 1) + 1e-9)
    reach = float(distance[-allowed]) * error if allowed else math.inf
    further = resamples - int(np.searchsorted(distance, abs(mean) / error * (1 - 1e-9)))
    interval = Interval(mean - reach, mean + reach, level)
    return Estimate(mean, sd, units, interval, (1 + further) / (resamples + 1), error, df, noise)


def paired_bootstrap_metric(
    difference: Callable[[NDArray[np.int64]], ArrayLike],
    units: Sequence[ArrayLike],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Bootstrap over units of a metric that is no mean over samples, such as macro-F1.

    The interval is Student's with the bootstrap's standard error, widened by sqrt(U / (U - 1)) because resampling U
    units spreads as if U - 1 had been drawn (Efron & Tibshirani 1993, ch. 12; Hesterberg 2015, The American
    Statistician 69).

    Arguments:
        difference: from row ids `[rows]`, repeated as drawn, to the metric's difference candidate - baseline: one per
            seed `[S]`, or their mean. With one per seed `joint` can tell noise that seeds and units share.
        units: for each independent unit the ids of its rows.
        resamples: how many. Those where the metric is undefined (NaN) are left out; above 5 % of them there is no
            interval.
        seed: of the resampling.
        level: of the interval.
    """
    rows = [np.asarray(unit, dtype=np.int64).reshape(-1) for unit in units]
    if not rows:
        raise DataError("no units to resample")
    generator = np.random.default_rng(seed)
    observed = np.atleast_1d(np.asarray(difference(np.concatenate(rows)), dtype=np.float64))
    drawn = generator.integers(len(rows), size=(resamples, len(rows)))
    single = np.concatenate(rows) if all(len(row) == 1 for row in rows) else None
    resampled = (np.concatenate([rows[u] for u in draw]) if single is None else single[draw] for draw in drawn)
    values = np.stack([np.atleast_1d(difference(some)) for some in resampled])  # [R, S]
    values = values[~np.isnan(values).any(axis=1)]
    mean, count = float(observed.mean()), len(rows)
    if len(values) < 0.95 * resamples or count < 2:
        return _student(mean, math.nan, count, math.nan, count - 1.0, level)
    widen, seeds = count / (count - 1), values.shape[1]
    error = _sd(values.mean(axis=1)) * math.sqrt(widen)
    own = values - values.mean(axis=1, keepdims=True)
    noise = float(own.var(axis=0, ddof=1).sum()) * widen / (seeds * (seeds - 1)) if seeds > 1 else 0.0
    return _student(mean, error * math.sqrt(count), count, error, count - 1.0, level, noise)


def joint(seeds: Estimate, units: Estimate) -> Estimate:
    """Uncertainty of the mean difference when both the seeds and the test units might have been others.

    "Over seeds" holds the test units fixed and "over units" holds the seeds fixed. Where both matter equally each sees
    half of the variance, and demanding both still gives up to 16 % false verdicts. The variance of a mean over a
    crossed layout is (MS(seeds) + MS(units) - MS(seeds x units)) / (S U), as in studies of several readers on the same
    cases (Dorfman, Berbaum & Metz 1992; Hillis 2007, Statistics in Medicine 26), with Satterthwaite's degrees of
    freedom, no fewer than the rarer source has.

    Arguments:
        seeds: `paired_t` of the per-seed differences.
        units: `paired_bootstrap` or `paired_bootstrap_metric` of the same differences.
    """
    over_seeds, over_units = seeds.standard_error**2, units.standard_error**2
    variance = max(over_seeds, over_units, over_seeds + over_units - units.noise)
    if math.isnan(over_seeds + over_units):
        variance, df = math.nan, math.nan
    elif variance > 0:
        df = variance**2 / (over_seeds**2 / seeds.df + over_units**2 / units.df)
        df = max(df, min(seeds.df, units.df))
    else:
        df = min(seeds.df, units.df)
    cells, error = seeds.n * units.n, math.sqrt(variance)
    return _student(seeds.mean, error * math.sqrt(cells), cells, error, df, seeds.interval.level, units.noise)


def equivalence(differences: ArrayLike, margin: float) -> float:
    """Two one-sided t-tests (Schuirmann 1987): p-value of "the mean difference is at least `margin` either way".

    Arguments:
        differences: `[n]` paired differences.
        margin: positive; the largest difference that does not matter, in the metric's unit.
    """
    return equivalence_of(paired_t(differences), margin)


def equivalence_of(estimate: Estimate, margin: float) -> float:
    """`equivalence` from an estimate: its mean, standard error and degrees of freedom."""
    if not margin > 0:
        raise DataError(f"the margin is {margin}", "give a positive difference in the metric's unit")
    room = margin - abs(estimate.mean)
    if estimate.standard_error == 0:
        return 0.0 if room > 0 else 1.0
    return float(special.stdtr(estimate.df, -room / estimate.standard_error))


def smallest_detectable(sd: float, n: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true mean difference that a two-sided paired t-test at `alpha` finds with probability `power`.

    Arguments:
        sd: standard deviation of the n paired differences.
        n: number of differences. From an estimate's standard error and df: `sd = se * sqrt(df + 1)`, `n = df + 1`.
    """
    if not n >= 2 or math.isnan(sd):
        return math.nan
    return _noncentrality(round(float(n) - 1, 2), power, alpha) * sd / math.sqrt(n)


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjustment (Holm 1979): significant at alpha where the adjusted p-value is at most alpha.

    Arguments:
        p_values: `[m]`; NaN marks a comparison that was not tested, which stays NaN and does not count.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def gap_recovered(
    distilled: ArrayLike, alone: ArrayLike, teacher: ArrayLike, *, higher_is_better: bool = True, level: float = 0.95
) -> Ratio:
    """How much of the gap between `alone` and the teacher distillation closes, with Fieller's interval (1954, JRSS B
    16).

    The interval holds every r for which mean(distilled - alone) - r mean(teacher - alone) does not differ from 0 by a
    paired t-test, so it accounts for `alone` standing in both. It is bounded only where the gap itself clearly differs
    from 0.

    Arguments:
        distilled, alone, teacher: `[S]`, one score per seed.
        higher_is_better: of the metric; tells which sign of the gap means a stronger teacher.
        level: of the interval.
    """
    columns = [_finite_vector(scores, "scores") for scores in (distilled, alone, teacher)]
    if len({len(column) for column in columns}) > 1:
        raise DataError(
            f"distilled, alone and teacher have {[len(c) for c in columns]} scores", "give one per seed for each"
        )
    sign = 1.0 if higher_is_better else -1.0
    gain, gap = sign * (columns[0] - columns[1]), sign * (columns[2] - columns[1])
    top, bottom, n = float(gain.mean()), float(gap.mean()), len(gain)
    if bottom <= 0:
        return Ratio(math.nan, None, "the teacher does not score above alone, so there is no gap to recover")
    if n < 2:
        return Ratio(top / bottom, None, "one seed shows no spread")
    (var_top, cov), (_, var_bottom) = np.cov(gain, gap) / n
    t2 = float(special.stdtrit(n - 1, (1 - level) / 2)) ** 2
    a, b, c = bottom**2 - t2 * var_bottom, top * bottom - t2 * cov, top**2 - t2 * var_top
    if a <= 0:
        return Ratio(top / bottom, None, "the gap between alone and teacher is not clearly above 0, so any ratio fits")
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Ratio(top / bottom, Interval((b - root) / a, (b + root) / a, level))


def paired_differences(candidate: ArrayLike, baseline: ArrayLike) -> Array:
    """candidate - baseline `[S, U]`, refusing arms that were not tested on the same seeds and units."""
    left, right = _matrix(candidate, "candidate scores"), _matrix(baseline, "baseline scores")
    if left.shape != right.shape:
        raise DataError(
            f"candidate scores have shape {left.shape}, baseline scores {right.shape}", "pair seeds and units"
        )
    if (np.isnan(left) != np.isnan(right)).any():
        raise DataError("candidate and baseline were not tested on the same units", "score both on the same ids")
    return left - right


def _matrix(values: ArrayLike, name: str) -> Array:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise DataError(f"{name} have shape {matrix.shape}", "need [seeds, units]")
    if np.isinf(matrix).any():
        raise DataError(f"{name} hold an infinite value")
    return matrix


def _finite_vector(values: ArrayLike, name: str) -> Array:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not vector.size:
        raise DataError(f"{name} have shape {vector.shape}", "need one value per seed, [n]")
    if not np.isfinite(vector).all():
        raise DataError(f"{name} hold a value that is not finite")
    return vector


def _sd(values: Array) -> float:
    """Standard deviation of `[n]`: 0 where values are equal up to rounding, NaN for n = 1."""
    if len(values) < 2:
        return math.nan
    if np.ptp(values) <= _SAME * np.abs(values).max():
        return 0.0
    return float(values.std(ddof=1))


def _student(mean: float, sd: float, n: int, error: float, df: float, level: float, noise: float = 0.0) -> Estimate:
    """The estimate whose interval and p-value come from Student's t with `df` degrees of freedom."""
    if math.isnan(error):
        return Estimate(mean, sd, n, Interval(math.nan, math.nan, level), math.nan, error, df, noise)
    if error == 0:
        return Estimate(mean, sd, n, Interval(mean, mean, level), 1.0 if mean == 0 else 0.0, error, df, noise)
    reach = -float(special.stdtrit(df, (1 - level) / 2)) * error
    p_value = 2 * float(special.stdtr(df, -abs(mean) / error))
    return Estimate(mean, sd, n, Interval(mean - reach, mean + reach, level), p_value, error, df, noise)


def _studentised(standard: Array, resamples: int, generator: np.random.Generator) -> Array:
    """|mean*| / se* of `resamples` bootstrap samples from standardised values `[U]` (mean 0, sd 1) -> `[resamples]`.

    Where few values are distinct (right or wrong, averaged over seeds) their counts are drawn instead: the same
    distribution, faster.
    """
    units = len(standard)
    distinct, counts = np.unique(standard.round(12), return_counts=True)
    by_count = 8 * len(distinct) <= units
    distances = []
    for start in range(0, resamples, step := max(1, _CHUNK // units)):
        size = min(step, resamples - start)
        if by_count:
            drawn = generator.multinomial(units, counts / units, size=size)
            first, second = drawn @ distinct / units, drawn @ distinct**2 / units
        else:
            sample = standard[generator.integers(units, size=(size, units), dtype=np.int32)]
            first, second = sample.mean(axis=1), np.einsum("ru,ru->r", sample, sample) / units
        error = np.sqrt(np.maximum(second - first**2, 0.0) / (units - 1))
        flat = error < 1e-6
        distances.append(
            np.where(flat, np.where(np.abs(first) < 1e-6, 0.0, np.inf), np.abs(first) / np.where(flat, 1.0, error))
        )
    return np.concatenate(distances)


@lru_cache(maxsize=4096)
def _noncentrality(df: float, power: float, alpha: float) -> float:
    """Noncentrality at which a two-sided t-test has the given power (t squared is noncentral F)."""
    critical = -float(special.stdtrit(df, alpha / 2))

    def missing(shift: float) -> float:
        return 1.0 - power - float(special.ncfdtr(1.0, df, shift**2, critical**2))

    top = critical + 1.0
    while missing(top) < 0:
        top *= 2
    return float(optimize.brentq(missing, 0.0, top))
