"""A binary decision tree of class probabilities: predicts, prints rules, becomes ONNX and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy.typing import NDArray

from mmkd_symbolic.expressions import Expression, constant, variable
from mmkd_symbolic.expressions.expression import all_of, any_of

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLEST = 1e-6
Paths = Iterator[tuple[int, list[tuple[int, bool, float]]]]


@dataclass(frozen=True)
class Tree:
    """Nodes as arrays; node 0 is the root, and a row goes left where its value is not above the threshold.

    Arguments:
        column: column that a node tests, -1 for a leaf, `[nodes]`.
        threshold: float32 values, rounded down, so that every runtime decides alike, `[nodes]`.
        left, right: children, `[nodes]`.
        probability: of the classes at each node, `[nodes, classes]`.
    """

    column: Int64[np.ndarray, " nodes"]
    threshold: Float32[np.ndarray, " nodes"]
    left: Int64[np.ndarray, " nodes"]
    right: Int64[np.ndarray, " nodes"]
    probability: Float64[np.ndarray, "nodes classes"]

    @classmethod
    def of_sklearn(cls, fitted: Any) -> Tree:
        """The nodes of a fitted scikit-learn regressor whose outputs are class probabilities."""
        inner = fitted.tree_
        leaf = inner.children_left < 0
        return cls(
            np.where(leaf, -1, inner.feature).astype(np.int64),
            np.where(leaf, np.float32(0), rounded_down(inner.threshold)),
            inner.children_left.astype(np.int64),
            inner.children_right.astype(np.int64),
            inner.value[:, :, 0].astype(np.float64),
        )

    @property
    def leaves(self) -> int:
        return int((self.column < 0).sum())

    @property
    def logits(self) -> Float32[np.ndarray, "nodes classes"]:
        """Logarithms of the probabilities, which are kept above 1e-6."""
        return np.log(self.probability.clip(SMALLEST)).astype(np.float32)

    def leaf_of(self, x: Float32[np.ndarray, "N F"]) -> Int64[np.ndarray, " N"]:
        """The leaf that each row comes to."""
        node = np.zeros(len(x), np.int64)
        rows = np.arange(len(x))
        while (inside := self.column[node] >= 0).any():
            goes_left = x[rows, self.column[node]] <= self.threshold[node]
            node = np.where(inside, np.where(goes_left, self.left[node], self.right[node]), node)
        return node

    def predict(self, x: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "N classes"]:
        return self.logits[self.leaf_of(x)]

    def rules(self, columns: Sequence[str], classes: Sequence[str]) -> dict[str, Expression]:
        """When the tree says which class: a disjunction of the paths to its leaves, for every class.

        A column `name=value` reads as `name == value`; of several tests of a column on one path the tightest stay.
        """
        paths: dict[str, list[Expression]] = {name: [] for name in classes}
        for leaf, tests in self._paths():
            paths[classes[int(self.probability[leaf].argmax())]].append(_conjunction(tests, columns))
        return {name: any_of(found) for name, found in paths.items()}

    def _paths(self, node: int = 0, tests: tuple[tuple[int, bool, float], ...] = ()) -> Paths:
        """Every leaf with its tests: column, whether the row goes left, threshold."""
        if self.column[node] < 0:
            yield node, list(tests)
            return
        here = (int(self.column[node]), float(self.threshold[node]))
        yield from self._paths(int(self.left[node]), (*tests, (here[0], True, here[1])))
        yield from self._paths(int(self.right[node]), (*tests, (here[0], False, here[1])))

    def to_onnx(self, parameter: str, width: int) -> ModelProto:
        """`predict` as one `TreeEnsembleRegressor` from `parameter` `[n, width]` to `logits` `[n, classes]`."""
        from onnx import TensorProto, helper  # needed at export only

        nodes, classes = self.probability.shape
        leaf = np.flatnonzero(self.column < 0)
        attributes = {
            "nodes_treeids": [0] * nodes,
            "nodes_nodeids": list(range(nodes)),
            "nodes_featureids": self.column.clip(0).tolist(),
            "nodes_modes": ["LEAF" if test < 0 else "BRANCH_LEQ" for test in self.column],
            "nodes_values": self.threshold.tolist(),
            "nodes_truenodeids": self.left.clip(0).tolist(),
            "nodes_falsenodeids": self.right.clip(0).tolist(),
            "target_treeids": [0] * (len(leaf) * classes),
            "target_nodeids": np.repeat(leaf, classes).tolist(),
            "target_ids": np.tile(np.arange(classes), len(leaf)).tolist(),
            "target_weights": self.logits[leaf].reshape(-1).tolist(),
            "n_targets": classes,
        }
        node = helper.make_node("TreeEnsembleRegressor", [parameter], ["logits"], domain="ai.onnx.ml", **attributes)
        ports = (
            helper.make_tensor_value_info(parameter, TensorProto.FLOAT, ["n", width]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes]),
        )
        graph = helper.make_graph([node], "tree", [ports[0]], [ports[1]])
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in ("column", "threshold", "left", "right", "probability")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Tree:
        types = {"threshold": np.float32, "probability": np.float64}
        return cls(**{name: np.asarray(value, types.get(name, np.int64)) for name, value in state.items()})


def rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each threshold: float32 rows compare with both alike."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _conjunction(tests: list[tuple[int, bool, float]], columns: Sequence[str]) -> Expression:
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    for column, goes_left, threshold in tests:
        if goes_left:
            high[column] = min(high.get(column, np.inf), threshold)
        else:
            low[column] = max(low.get(column, -np.inf), threshold)
    parts = []
    for column in dict.fromkeys(column for column, _, _ in tests):
        name, coded, value = columns[column].partition("=")
        if coded:
            parts.append(Expression("==" if column in low else "!=", (variable(name), constant(float(value)))))
            continue
        if column in low:
            parts.append(Expression(">", (variable(name), constant(low[column]))))
        if column in high:
            parts.append(Expression("<=", (variable(name), constant(high[column]))))
    return all_of(parts)
