"""An expression as an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions.expression import Expression

OPSET = 20
_NODES = {
    "<": "Less",
    "<=": "LessOrEqual",
    ">": "Greater",
    ">=": "GreaterOrEqual",
    "==": "Equal",
    "and": "And",
    "or": "Or",
    "xor": "Xor",
    "iff": "Equal",
    "not": "Not",
    "+": "Add",
    "-": "Sub",
    "*": "Mul",
    "/": "Div",
    "neg": "Neg",
}


def to_onnx(expression: Expression, columns: Sequence[str]) -> ModelProto:
    """The expression as a graph from `x` `[n, columns]`, float32, to `truth` `[n]`, bool.

    Arguments:
        expression: of sort truth; a truth value is a column that is above one half.
        columns: names of the columns of `x`.

    Raises:
        ConfigError: the expression names what is no column.
    """
    sorts = expression.variables()
    if unknown := [name for name in sorts if name not in columns]:
        known = ", ".join(columns)
        raise ConfigError(f"rule '{expression}' names '{unknown[0]}', which is no column", f"columns: {known}")
    graph = _Graph()
    for name, sort in sorts.items():
        column = graph.add("Gather", "x", graph.store(np.int64(columns.index(name))), axis=1)
        graph.columns[name] = graph.add("Greater", column, graph.store(np.float32(0.5))) if sort == "truth" else column
    # Spread over the rows: an expression without variables is a single value.
    rows = graph.add("Shape", "x", start=0, end=1)
    truth = graph.add("Expand", graph.value(expression), rows)
    graph.nodes.append(helper.make_node("Identity", [truth], ["truth"]))
    proto = helper.make_graph(
        graph.nodes,
        "expression",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(columns)])],
        [helper.make_tensor_value_info("truth", TensorProto.BOOL, ["n"])],
        graph.stored,
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


class _Graph:
    """Nodes in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.stored: list[Any] = []
        self.columns: dict[str, str] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def store(self, value: Any) -> str:
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def value(self, node: Expression) -> str:
        """Name of the value of an expression."""
        if node.op == "variable":
            return self.columns[str(node.value)]
        if node.op == "constant":
            return self.store(node.value if isinstance(node.value, bool) else np.float32(node.value))
        parts = [self.value(argument) for argument in node.args]
        if node.op == "implies":
            return self.add("Or", self.add("Not", parts[0]), parts[1])
        if node.op == "!=":
            return self.add("Not", self.add("Equal", *parts))
        if len(parts) == 1:
            return self.add(_NODES[node.op], *parts)
        return reduce(lambda left, right: self.add(_NODES[node.op], left, right), parts)
