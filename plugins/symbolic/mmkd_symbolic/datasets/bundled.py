"""`symbolic/bundled`: the tables that scikit-learn brings along. Nothing is downloaded."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import PositiveInt
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from mmkd_symbolic.datasets.base import Table

_LOAD = {"breast-cancer": load_breast_cancer, "wine": load_wine, "iris": load_iris, "digits": load_digits}


class Bundled(Table):
    """Breast cancer (569 rows, 30 columns), wine (178, 13), iris (150, 4) or digits (1,797, 64), in raw units.

    Arguments:
        table: which one.
        label_noise: share of wrong training labels.
        labels_per_class: labelled training rows of each class; None: all.
    """

    name = "symbolic/bundled"
    card = "bundled"

    def __init__(
        self,
        *,
        table: Literal["breast-cancer", "wine", "iris", "digits"] = "breast-cancer",
        label_noise: float = 0.0,
        labels_per_class: PositiveInt | None = None,
    ) -> None:
        bunch = _LOAD[table]()
        super().__init__(
            bunch.data.astype(np.float32),
            [str(name) for name in bunch.feature_names],
            bunch.target.astype(np.int64),
            [str(name) for name in bunch.target_names],
            label_noise=label_noise,
            labels_per_class=labels_per_class,
        )
