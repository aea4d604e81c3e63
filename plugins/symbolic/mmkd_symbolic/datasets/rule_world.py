"""`symbolic/rule-world`: a generated table whose rules are known, and told truly, uselessly or falsely."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from mmkd_symbolic.datasets.base import Table
from mmkd_symbolic.expressions import Domain, Finite, Real

ROWS, MEASURES, FLAGS = 1500, 6, 4
WRONG = 0.1
CLASSES = ("low", "middle", "high")
_HIGH = "u0 > 0.6 and b0 == 1"
_LOW = "u1 <= 0.5 and b1 == 0"
TOLD = {
    "positive": (f"{_HIGH} implies high", f"{_LOW} and not ({_HIGH}) implies low"),
    "null": ("u4 > 0.6 and b3 == 1 implies high or middle or low", "u5 <= 0.5 and b2 == 0 implies low or not low"),
    "harm": (f"{_HIGH} implies middle", f"{_LOW} and not ({_HIGH}) implies high"),
}


class RuleWorld(Table):
    """1,500 rows of six measures in [0, 1] and four flags, three classes; 4 columns decide, 10 % of labels are wrong.

    A row is high where `u0 > 0.6 and b0 == 1`, else low where `u1 <= 0.5 and b1 == 0`, else middle.

    Arguments:
        setting: what the rules say that come with it. `positive`: when a row is high and when it is low, truly. `null`:
            nothing, their conclusions hold for every row. `harm`: the same as `positive` of wrong classes.
        world: seed of the rows.
        labels_per_class: labelled training rows of each class; about 600 rows are for training.
    """

    name = "symbolic/rule-world"
    card = "rule-world"

    def __init__(
        self,
        *,
        setting: Literal["positive", "null", "harm"] = "positive",
        world: NonNegativeInt = 0,
        labels_per_class: PositiveInt | None = 10,
    ) -> None:
        random = np.random.default_rng(np.random.SeedSequence([world, 1]))
        measures = random.random((ROWS, MEASURES)).astype(np.float32)
        flags = random.integers(0, 2, (ROWS, FLAGS)).astype(np.float32)
        high = (measures[:, 0] > 0.6) & (flags[:, 0] == 1)
        low = (measures[:, 1] <= 0.5) & (flags[:, 1] == 0) & ~high
        label = np.where(high, 2, np.where(low, 0, 1))
        wrong = random.random(ROWS) < WRONG
        label = np.where(wrong, (label + random.integers(1, 3, ROWS)) % 3, label)
        measured = [f"u{number}" for number in range(MEASURES)]
        flagged = [f"b{number}" for number in range(FLAGS)]
        domains: dict[str, Domain] = dict.fromkeys(measured, Real(0.0, 1.0))
        domains |= dict.fromkeys(flagged, Finite((0.0, 1.0)))
        super().__init__(
            np.concatenate([measures, flags], 1),
            [*measured, *flagged],
            label.astype(np.int64),
            CLASSES,
            labels_per_class=labels_per_class,
            domains=domains,
            shares=(0.4, 0.1, 0.5),
        )
        self.rules = TOLD[setting]
