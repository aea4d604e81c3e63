"""Are the probabilities right, and does the student say what the teacher says? Plain functions on numpy arrays.

Logits and probabilities are `[N, C]`, labels `[N]` class ids. Entropies are in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from mmkd.errors import DataError

Array = NDArray[np.float64]

TEMPERATURES = (0.01, 100.0)
"""Where `fit_temperature` looks: beyond it a model is a certainty or a coin."""


@dataclass(frozen=True)
class Reliability:
    """The points of a reliability diagram, one per bin of the top probability.

    Arguments:
        edges: `[bins + 1]`, equally wide from 0 to 1; a bin holds its upper edge.
        confidence: `[bins]`, mean top probability; NaN for an empty bin.
        accuracy: `[bins]`, fraction correct; NaN for an empty bin.
        count: `[bins]`, samples.
    """

    edges: Array
    confidence: Array
    accuracy: Array
    count: NDArray[np.int64]


@dataclass(frozen=True)
class Fidelity:
    """A mean over all rows and over those where the teacher is wrong (None without labels or without such rows)."""

    overall: float
    teacher_wrong: float | None
    n_teacher_wrong: int | None


def probabilities(logits: ArrayLike, temperature: float = 1.0) -> Array:
    """softmax(logits / temperature), `[N, C]`."""
    return special.softmax(_rows(logits, "logits") / temperature, axis=1)


def reliability_curve(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> Reliability:
    """Confidence against accuracy (Guo et al. 2017, arXiv 1706.04599, section 2).

    Arguments:
        probabilities: `[N, C]`.
        labels: `[N]`.
        bins: of equal width.
    """
    p, y = _probabilities(probabilities), _labels(labels, np.shape(probabilities))
    top, correct = p.max(axis=1), p.argmax(axis=1) == y
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(index, top, minlength=bins) / count
        accuracy = np.bincount(index, correct, minlength=bins) / count
    return Reliability(edges, confidence, accuracy, count)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean |accuracy - confidence| of the top class over equally wide bins, weighted by their samples (Guo et al. 2017,
    eq. 3).

    Arguments:
        probabilities: `[N, C]`.
        labels: `[N]`.
        bins: how many.
    """
    curve = reliability_curve(probabilities, labels, bins)
    gap = np.nan_to_num(np.abs(curve.accuracy - curve.confidence))
    return float((gap * curve.count).sum() / curve.count.sum())


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p(label), in nats. A probability of 0 counts as the smallest normal float64, i.e. 708 nats.

    Arguments:
        probabilities: `[N, C]`.
        labels: `[N]`.
    """
    p, y = _probabilities(probabilities), _labels(labels, np.shape(probabilities))
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).tiny)).mean())


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T that minimises the NLL of softmax(logits / T) (Guo et al. 2017, section 4.2).

    The NLL is convex in 1 / T with slope mean(E_p[z] - z_label), whose root is bracketed. Fit on validation rows, never
    on test rows.

    Arguments:
        logits: `[N, C]`, of validation rows.
        labels: `[N]`.

    Returns:
        T within `TEMPERATURES`: its lower end where every row is right, its upper end where the logits say nothing
        about the labels.
    """
    z = _rows(logits, "logits")
    y = _labels(labels, z.shape)
    z = z - z.max(axis=1, keepdims=True)
    label = z[np.arange(len(y)), y]

    def slope(log_inverse: float) -> float:
        p = special.softmax(z * np.exp(log_inverse), axis=1)
        return float(((p * z).sum(axis=1) - label).mean())

    cold, hot = -np.log(TEMPERATURES[0]), -np.log(TEMPERATURES[1])
    if slope(cold) <= 0:
        return TEMPERATURES[0]
    if slope(hot) >= 0:
        return TEMPERATURES[1]
    return float(np.exp(-optimize.brentq(slope, hot, cold, xtol=1e-10)))


def agreement(student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike | None = None) -> Fidelity:
    """Fraction of rows where student and teacher name the same class (Stanton et al. 2021, arXiv 2106.05945).

    Arguments:
        student_logits, teacher_logits: `[N, C]`.
        labels: `[N]`; tells where the teacher is wrong. Agreement there is imitation of mistakes.
    """
    return _fidelity(lambda s, t: s.argmax(axis=1) == t.argmax(axis=1), student_logits, teacher_logits, labels)


def kl_to_teacher(
    student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike | None = None, *, temperature: float = 1.0
) -> Fidelity:
    """Mean KL(teacher || student) in nats, both softened by `temperature` and not scaled by its square.

    Arguments:
        student_logits, teacher_logits: `[N, C]`.
        labels: `[N]`; tells where the teacher is wrong.
        temperature: of both.
    """

    def divergence(student: Array, teacher: Array) -> Array:
        log_s = special.log_softmax(student / temperature, axis=1)
        log_t = special.log_softmax(teacher / temperature, axis=1)
        return np.maximum((np.exp(log_t) * (log_t - log_s)).sum(axis=1), 0.0)

    return _fidelity(divergence, student_logits, teacher_logits, labels)


def _fidelity(
    per_row: Callable[[Array, Array], NDArray[np.generic]],
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike | None,
) -> Fidelity:
    s, t = _rows(student, "student logits"), _rows(teacher, "teacher logits")
    if s.shape != t.shape:
        raise DataError(
            f"student logits have shape {s.shape}, teacher logits {t.shape}",
            "compare them on the same rows and classes",
        )
    values = per_row(s, t).astype(np.float64)
    if labels is None:
        return Fidelity(float(values.mean()), None, None)
    wrong = t.argmax(axis=1) != _labels(labels, t.shape)
    return Fidelity(float(values.mean()), float(values[wrong].mean()) if wrong.any() else None, int(wrong.sum()))


def _rows(values: ArrayLike, name: str) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise DataError(f"{name} have shape {rows.shape}", "need [N, C]")
    if not np.isfinite(rows).all():
        raise DataError(f"{name} hold a value that is not finite")
    return rows


def _probabilities(values: ArrayLike) -> Array:
    p = _rows(values, "probabilities")
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
        raise DataError("probabilities do not sum to 1 in each row", "pass softmax outputs, not logits")
    return p


def _labels(values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    labels = np.asarray(values)
    if labels.shape != shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels have shape {labels.shape} and type {labels.dtype}", f"need [{shape[0]}] class ids")
    if (labels < 0).any() or (labels >= shape[1]).any():
        raise DataError(f"labels reach from {labels.min()} to {labels.max()}", f"need ids from 0 to {shape[1] - 1}")
    return labels.astype(np.int64)
