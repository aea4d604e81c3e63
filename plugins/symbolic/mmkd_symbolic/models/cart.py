"""`symbolic/cart`: CART on a teacher's class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from mmkd.data.fields import Field, OutputSpec
from mmkd.estimators import Arrays
from mmkd_symbolic.models.estimator import TreeStudent
from mmkd_symbolic.models.tree import Tree


class CART(TreeStudent):
    """A tree grown best first by the fall of the squared error of class probabilities, up to a number of leaves.

    On one-hot answers that squared error is the Gini impurity, so the arm that learns alone is plain CART; distilled,
    the same tree learns the teacher's probabilities of every training row, labelled or not.

    Arguments:
        leaves: most leaves.
        min_rows: fewest training rows of a leaf.

    Source:
        Breiman et al. 1984, Classification and Regression Trees; soft answers as in Hinton et al. 2015, arXiv
        1503.02531, eq. 1 at T = 1.
    """

    def __init__(
        self, inputs: Mapping[str, Field], outputs: OutputSpec, /, *, leaves: int = 16, min_rows: int = 1
    ) -> None:
        super().__init__(inputs, outputs, leaves=leaves)
        self.min_rows = min_rows

    def fit(
        self,
        inputs: Arrays,
        labels: Arrays,
        signals: Mapping[str, Arrays],
        valid: tuple[Arrays, Arrays],
        query: Callable[[Arrays], dict[str, np.ndarray]],
        *,
        seed: int,
    ) -> None:
        answers = self.answers(labels, signals)
        known = ~np.isnan(answers[:, 0])
        grown = DecisionTreeRegressor(
            max_leaf_nodes=self.leaves, min_samples_leaf=self.min_rows, random_state=seed % 2**32
        )
        grown.fit(inputs["x"][known], answers[known])
        self.tree = Tree.of_sklearn(grown)
