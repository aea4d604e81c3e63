"""An expression as a differentiable truth, and as a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions.expression import COMPARISONS, Expression

Logic = Literal["product", "lukasiewicz", "goedel"]
Conjunction = Callable[[Tensor, Tensor], Tensor]
SMALLEST = 1e-7


def soft_truth(
    expression: Expression,
    values: Mapping[str, Float[Tensor, "*shape"]],
    *,
    logic: Logic = "product",
    width: float = 1.0,
) -> Float[Tensor, "*shape"]:
    """Truth in [0, 1], differentiable in every value.

    Arguments:
        expression: of sort truth.
        values: truth values in [0, 1] and numbers, by name, all of one shape.
        logic: t-norm of `and`; `or` is its dual, `not a` is 1 - a, `a implies b` is `not a or b`.
        width: of comparisons, in units of the numbers: `a < b` is sigmoid((b - a) / width), and `a == b` falls from 1
            with the squared difference, exp(-((a - b) / width)^2).

    Returns:
        The truth, of the shape of the values.

    Raises:
        ConfigError: a variable has no value, or the width is not positive.

    Source:
        van Krieken et al. 2022, Analyzing Differentiable Fuzzy Logic Operators, arXiv 2002.06100, tables 1 and 2.
    """
    if not width > 0:
        raise ConfigError(f"width = {width} of soft comparisons is not positive")
    if missing := [name for name in expression.variables() if name not in values]:
        raise ConfigError(f"'{expression}' names '{missing[0]}', which has no value")
    shape = torch.broadcast_shapes(*(value.shape for value in values.values())) if values else ()
    truth = _truth(expression, values, _AND[logic], width)
    return truth.expand(shape) if truth.dim() == 0 else truth


def fuzzy_loss(
    expression: Expression,
    values: Mapping[str, Float[Tensor, "*shape"]],
    *,
    logic: Logic = "product",
    width: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean of -log truth: 0 where the expression holds for certain. Arguments and errors as in `soft_truth`."""
    return -soft_truth(expression, values, logic=logic, width=width).clamp(min=SMALLEST).log().mean()


def _both(a: Tensor, b: Tensor) -> Tensor:
    return a * b


def _lukasiewicz(a: Tensor, b: Tensor) -> Tensor:
    return (a + b - 1).clamp(min=0)


_AND: dict[str, Conjunction] = {"product": _both, "lukasiewicz": _lukasiewicz, "goedel": torch.minimum}


def _truth(node: Expression, values: Mapping[str, Tensor], conjunction: Conjunction, width: float) -> Tensor:
    if node.op == "variable":
        return _float(values[str(node.value)])
    if node.op == "constant":
        return torch.tensor(float(node.value or 0.0))
    if node.op in COMPARISONS:
        left, right = (_number(argument, values) for argument in node.args)
        return _compare(node.op, left, right, width)
    parts = [_truth(argument, values, conjunction, width) for argument in node.args]

    def either(a: Tensor, b: Tensor) -> Tensor:
        return 1 - conjunction(1 - a, 1 - b)

    if node.op == "not":
        return 1 - parts[0]
    if node.op == "and":
        return reduce(conjunction, parts)
    if node.op == "or":
        return reduce(either, parts)
    if node.op == "implies":
        return either(1 - parts[0], parts[1])
    same = conjunction(either(1 - parts[0], parts[1]), either(parts[0], 1 - parts[1]))
    return same if node.op == "iff" else 1 - same


def _compare(op: str, left: Tensor, right: Tensor, width: float) -> Tensor:
    if op in ("==", "!="):
        near = torch.exp(-(((left - right) / width) ** 2))
        return near if op == "==" else 1 - near
    gap = right - left if op in ("<", "<=") else left - right
    return torch.sigmoid(gap / width)


def _number(node: Expression, values: Mapping[str, Tensor]) -> Tensor:
    if node.op == "variable":
        return _float(values[str(node.value)])
    if node.op == "constant":
        return torch.tensor(float(node.value or 0.0))
    parts = [_number(argument, values) for argument in node.args]
    if node.op == "neg":
        return -parts[0]
    if node.op == "-":
        return parts[0] - parts[1]
    if node.op == "/":
        return parts[0] / parts[1]
    return reduce(torch.add if node.op == "+" else torch.mul, parts)


def _float(value: Tensor) -> Tensor:
    return value if value.is_floating_point() else value.float()
