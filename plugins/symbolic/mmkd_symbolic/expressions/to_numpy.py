"""An expression as a function of NumPy arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions.expression import Expression

Values = Mapping[str, Any]

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "not": np.logical_not,
    "implies": lambda a, b: ~a | b,
    "iff": operator.eq,
    "xor": operator.ne,
    "and": lambda *parts: reduce(np.logical_and, parts),
    "or": lambda *parts: reduce(np.logical_or, parts),
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "+": lambda *parts: reduce(operator.add, parts),
    "*": lambda *parts: reduce(operator.mul, parts),
    "-": operator.sub,
    "/": operator.truediv,
    "neg": operator.neg,
}


def predicate(expression: Expression) -> Callable[[Values], np.ndarray]:
    """`f(values) -> array` of truth values (or numbers, for an arithmetic expression).

    Arguments:
        expression: over the names in `values`: arrays of one shape, numbers or, for truth values, bools (0 and 1 too).

    Raises:
        ConfigError: on the call, where a variable has no value.
    """
    sorts = expression.variables(expression.sort or "truth")

    def function(values: Values) -> np.ndarray:
        if missing := [name for name in sorts if name not in values]:
            raise ConfigError(
                f"'{expression}' names '{missing[0]}', which has no value", f"known: {', '.join(values) or 'none'}"
            )
        given = {
            name: np.asarray(values[name], bool if sort == "truth" else np.float64) for name, sort in sorts.items()
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            result = _evaluate(expression, given)
        shape = np.broadcast_shapes(*(value.shape for value in given.values())) if given else ()
        return np.broadcast_to(np.asarray(result), shape)

    return function


def _evaluate(expression: Expression, values: Mapping[str, np.ndarray]) -> Any:
    if expression.op == "variable":
        return values[str(expression.value)]
    if expression.op == "constant":
        return np.asarray(expression.value)
    return _FUNCTIONS[expression.op](*(_evaluate(argument, values) for argument in expression.args))
