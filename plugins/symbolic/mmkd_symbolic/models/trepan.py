"""`symbolic/trepan`: a tree that asks the teacher about rows that it makes up."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from sklearn.tree import DecisionTreeRegressor

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd.estimators import Arrays
from mmkd_symbolic.models.estimator import TreeStudent, probabilities
from mmkd_symbolic.models.marginals import Bounds, Marginals
from mmkd_symbolic.models.tree import Tree, rounded_down


@dataclass
class _Node:
    """A node in the making: where it is, its training rows, and a sample of what comes to it."""

    bounds: Bounds
    rows: Float32[np.ndarray, "N F"]
    answers: Float64[np.ndarray, "N classes"]
    sample: Float32[np.ndarray, "M F"]
    said: Float64[np.ndarray, "M classes"]
    reach: float
    marginals: Marginals
    column: int = -1
    threshold: float = 0.0
    left: int = -1
    right: int = -1

    @property
    def fidelity(self) -> float:
        """Share of the sample that the teacher puts into the class that the node would give."""
        return float((self.said.argmax(1) == self.said.mean(0).argmax()).mean())


class Trepan(TreeStudent):
    """A tree grown best first by reach times lost fidelity, from training rows and rows drawn where these are few.

    At each node the training rows that come there are filled up to `samples` rows by draws from marginals under the
    node's tests, and the teacher answers for them. Marginals are those of the training rows that come to the node, or
    where these are fewer than `local_rows`, of the nearest node above that has more. The node with the largest
    `reach * (1 - fidelity)` is split next, until there are `leaves`; siblings that give one class are joined.

    It differs from the published TREPAN: a split is one test and no m-of-n expression; splits are chosen by the squared
    error of the teacher's probabilities and not by information gain on its classes; marginals are estimated anew at
    every node with rows enough, and not only where a test finds that they differ; drawing stops at a fixed number and
    the tree at a number of leaves, without tests of significance. Without a source it grows on the labels alone.

    Arguments:
        leaves: most leaves.
        samples: fewest rows, training and drawn ones together, that choose a split.
        local_rows: fewest training rows that marginals are estimated from.
        min_rows: fewest of those rows in a leaf.

    Source:
        Craven and Shavlik 1996, Extracting Tree-Structured Representations of Trained Networks, NIPS 8, section 3.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        leaves: int = 16,
        samples: int = 1000,
        local_rows: int = 30,
        min_rows: int = 1,
    ) -> None:
        super().__init__(inputs, outputs, leaves=leaves)
        if samples < 0:
            raise ConfigError(f"symbolic/trepan: samples = {samples} is negative")
        if local_rows < 1:
            raise ConfigError(f"symbolic/trepan: local_rows = {local_rows} is less than 1")
        self.samples, self.local_rows, self.min_rows = samples, local_rows, min_rows

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
        x, answers = inputs["x"][known].astype(np.float32), answers[known]
        random = np.random.default_rng(seed)

        def node(bounds: Bounds, rows: np.ndarray, said: np.ndarray, reach: float, above: Marginals) -> _Node:
            marginals = Marginals(rows, self.columns) if len(rows) >= self.local_rows else above
            missing = max(self.samples - len(rows), 0) if signals else 0
            if not missing:
                return _Node(bounds, rows, said, rows, said, reach, marginals)
            drawn = marginals.draw(missing, bounds, random)
            told = probabilities(query({"x": drawn}))
            sample, answered = np.concatenate([rows, drawn]), np.concatenate([said, told])
            return _Node(bounds, rows, said, sample, answered, reach, marginals)

        nodes = [node(Bounds(), x, answers, 1.0, Marginals(x, self.columns))]
        queue: list[tuple[float, int]] = []
        _offer(queue, nodes, 0)
        leaves = 1
        while queue and leaves < self.leaves:
            _, place = heapq.heappop(queue)
            if not self._split(nodes[place]):
                continue
            parent = nodes[place]
            goes_left = parent.rows[:, parent.column] <= parent.threshold
            share = float((parent.sample[:, parent.column] <= parent.threshold).mean())
            for side, bounds, reach in (
                (goes_left, parent.bounds.below(parent.column, parent.threshold), parent.reach * share),
                (~goes_left, parent.bounds.above(parent.column, parent.threshold), parent.reach * (1 - share)),
            ):
                nodes.append(node(bounds, parent.rows[side], parent.answers[side], reach, parent.marginals))
                _offer(queue, nodes, len(nodes) - 1)
            parent.left, parent.right = len(nodes) - 2, len(nodes) - 1
            leaves += 1
        self.tree = _joined(nodes)

    def _split(self, node: _Node) -> bool:
        """Choose the test of a node; False where none parts its sample."""
        stump = DecisionTreeRegressor(max_depth=1, min_samples_leaf=self.min_rows, random_state=0)
        inner = stump.fit(node.sample, node.said).tree_
        if inner.node_count < 3:
            return False
        node.column = int(inner.feature[0])
        node.threshold = float(rounded_down(inner.threshold[:1])[0])
        return True


def _offer(queue: list[tuple[float, int]], nodes: list[_Node], place: int) -> None:
    """Queue a node by what splitting it may gain; a node that is as the teacher everywhere stays a leaf."""
    gain = nodes[place].reach * (1 - nodes[place].fidelity)
    if gain > 0:
        heapq.heappush(queue, (-gain, place))


def _joined(nodes: list[_Node]) -> Tree:
    """The tree, with siblings that give one class everywhere joined into one leaf."""
    classes = [int(node.said.mean(0).argmax()) for node in nodes]
    for place in reversed(range(len(nodes))):  # children stand after their parents
        node = nodes[place]
        if node.column < 0:
            continue
        left, right = nodes[node.left], nodes[node.right]
        if left.column < 0 and right.column < 0 and classes[node.left] == classes[node.right]:
            node.column, classes[place] = -1, classes[node.left]
    kept = [0]
    for place in kept:  # grows while it is gone through
        if nodes[place].column >= 0:
            kept += [nodes[place].left, nodes[place].right]
    number = {place: new for new, place in enumerate(kept)}
    chosen = [nodes[place] for place in kept]
    inside = [node.column >= 0 for node in chosen]
    return Tree(
        np.array([node.column for node in chosen]),
        np.array([node.threshold for node in chosen], np.float32),
        np.array([number[n.left] if i else -1 for n, i in zip(chosen, inside, strict=True)]),
        np.array([number[n.right] if i else -1 for n, i in zip(chosen, inside, strict=True)]),
        np.array([node.said.mean(0) for node in chosen]),
    )
