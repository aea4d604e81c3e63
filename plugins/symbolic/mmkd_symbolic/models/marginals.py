"""New rows of a table, drawn column by column as the training rows are, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

FEW = 20


@dataclass(frozen=True)
class Bounds:
    """Where the rows of a tree's node lie: `low < value <= high`, by column; a column without bounds is free."""

    low: dict[int, float] = field(default_factory=dict)
    high: dict[int, float] = field(default_factory=dict)

    def below(self, column: int, threshold: float) -> Bounds:
        return Bounds(self.low, {**self.high, column: min(threshold, self.high.get(column, np.inf))})

    def above(self, column: int, threshold: float) -> Bounds:
        return Bounds({**self.low, column: max(threshold, self.low.get(column, -np.inf))}, self.high)

    def hold(self, column: int, values: np.ndarray) -> np.ndarray:
        return (values > self.low.get(column, -np.inf)) & (values <= self.high.get(column, np.inf))


class Marginals:
    """The marginal distribution of each variable among the training rows.

    Columns `name=value` of one variable are drawn together, so that a row has one value of it. A column of more than 20
    different values is smoothed by a Gaussian kernel (Silverman's width).

    Arguments:
        x: training rows, `[N, F]`.
        columns: their names.
    """

    def __init__(self, x: Float32[np.ndarray, "N F"], columns: Sequence[str]) -> None:
        self.x = x
        coded: dict[str, list[int]] = {}
        self.plain: list[int] = []
        for number, name in enumerate(columns):
            variable, is_coded, _ = name.partition("=")
            if is_coded:
                coded.setdefault(variable, []).append(number)
            else:
                self.plain.append(number)
        self.coded = [np.array(members) for members in coded.values()]
        spread = x.std(0, dtype=np.float64)
        smooth = np.array([len(np.unique(column)) > FEW for column in x.T])
        self.width = np.where(smooth, 1.06 * spread * len(x) ** -0.2, 0.0)

    def draw(self, count: int, bounds: Bounds, random: np.random.Generator) -> Float32[np.ndarray, "M F"]:
        """`count` rows within bounds; variables are independent of each other."""
        rows = np.zeros((count, self.x.shape[1]), np.float32)
        for column in self.plain:
            rows[:, column] = self._values(column, count, bounds, random)
        for members in self.coded:
            share = self.x[:, members].sum(0, dtype=np.float64)
            allowed = np.array([bounds.hold(int(column), np.ones(1))[0] for column in members])
            demanded = np.array([not bounds.hold(int(column), np.zeros(1))[0] for column in members])
            allowed = demanded & allowed if demanded.any() else allowed
            weight = np.where(allowed, share, 0.0)
            weight = weight if weight.sum() > 0 else np.where(allowed, 1.0, 1e-12)
            rows[np.arange(count), members[random.choice(len(members), count, p=weight / weight.sum())]] = 1
        return rows

    def _values(self, column: int, count: int, bounds: Bounds, random: np.random.Generator) -> np.ndarray:
        known = self.x[:, column]
        inside = known[bounds.hold(column, known)]
        if not len(inside):  # a threshold between values that were drawn themselves
            low = max(bounds.low.get(column, -np.inf), float(known.min()))
            high = min(bounds.high.get(column, np.inf), float(known.max()))
            return high - random.random(count) * (high - low)
        values = random.choice(inside, count)
        if not self.width[column]:
            return values
        moved = (values + self.width[column] * random.standard_normal(count)).astype(np.float32)
        return np.where(bounds.hold(column, moved), moved, values)
