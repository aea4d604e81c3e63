"""What the tree students share: columns and classes, prediction, rules, state, ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from scipy.special import softmax

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd.estimators import Arrays, Estimator
from mmkd.pictures import Picture
from mmkd_symbolic.expressions import Expression
from mmkd_symbolic.models.tree import Tree

if TYPE_CHECKING:
    from onnx import ModelProto


class TreeStudent(Estimator):
    """A student that is one decision tree over the columns of a vector field.

    Arguments:
        inputs: the one vector field.
        outputs: class logits, which the tree gives as log-probabilities.
        leaves: most leaves.

    Raises:
        ConfigError: another field or output, or fewer than two leaves.
    """

    reads = ("x",)
    tree: Tree

    def __init__(self, inputs: Mapping[str, Field], outputs: OutputSpec, /, *, leaves: int) -> None:
        super().__init__(inputs, outputs)
        field = self.inputs["x"]
        if len(field.shape) != 1 or not field.dtype.startswith("float"):
            raise ConfigError(f"a tree reads a vector of numbers, not {field.dtype} of shape {list(field.shape)}")
        if list(self.outputs) != ["logits"] or len(self.outputs["logits"]) != 1:
            raise ConfigError(f"a tree gives class logits alone, and the task wants {', '.join(self.outputs)}")
        if leaves < 2:
            raise ConfigError(f"leaves = {leaves}: a tree has at least 2")
        self.leaves = leaves
        self.width = int(field.shape[0] or 0)
        self.classes = int(self.outputs["logits"][0] or 0)
        self.columns = field.channels or tuple(f"x{number}" for number in range(self.width))

    def answers(self, labels: Arrays, signals: Mapping[str, Arrays]) -> Float64[np.ndarray, "N classes"]:
        """Class probabilities to learn: the mean of what the sources say, or else the labels; NaN where unknown."""
        if signals:
            return np.mean([probabilities(said) for said in signals.values()], axis=0)
        (target,) = (name for name in labels if name != "labelled")
        known = np.eye(self.classes)[labels[target].clip(0)]
        return np.where(labels["labelled"][:, None], known, np.nan)

    def predict(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return {"logits": self.tree.predict(inputs["x"].astype(np.float32))}

    def rules(self, classes: Sequence[str] = ()) -> dict[str, Expression]:
        """The expression of every class, over the columns' names."""
        return self.tree.rules(self.columns, classes or tuple(str(number) for number in range(self.classes)))

    def describe(self, classes: Sequence[str]) -> dict[str, Any]:
        return {"leaves": self.tree.leaves, "rules": {name: str(rule) for name, rule in self.rules(classes).items()}}

    def pictures(self, arm: str, classes: Sequence[str]) -> list[Picture]:
        from mmkd_symbolic.models.drawing import tree_picture

        names = list(classes) or [str(number) for number in range(self.classes)]
        tests = {self.columns[column].partition("=")[0] for column in self.tree.column if column >= 0}
        caption = f"The tree of {arm} under the first seed, {self.tree.leaves} leaves; to the left where a test holds."
        alt = f"Decision tree of {arm}: {self.tree.leaves} leaves, tests of {', '.join(sorted(tests)) or 'nothing'}."
        return [Picture(f"tree-{arm}", caption, alt, tree_picture(self.tree, self.columns, names))]

    def to_onnx(self) -> ModelProto:
        return self.tree.to_onnx("x", self.width)

    def state(self) -> dict[str, Any]:
        return self.tree.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.tree = Tree.from_state(dict(state))


def probabilities(said: Arrays) -> Float64[np.ndarray, "N classes"]:
    """Class probabilities of a source's `logits`."""
    if "logits" not in said:
        raise ConfigError(f"a tree learns from logits, and the source gives {', '.join(said)}")
    result: Float64[np.ndarray, "N classes"] = softmax(said["logits"].astype(np.float64), axis=1)
    return result
