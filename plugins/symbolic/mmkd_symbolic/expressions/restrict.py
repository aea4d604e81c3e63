"""An expression with a value in place of a variable, and what follows from it folded away."""

from __future__ import annotations

from mmkd_symbolic.expressions.expression import COMPARISONS, OPERATORS, Expression, constant
from mmkd_symbolic.expressions.to_numpy import predicate


def restrict(expression: Expression, name: str, value: float | bool) -> Expression:
    """The expression with a constant in place of a variable."""
    if expression.op == "variable":
        return constant(value) if expression.value == name else expression
    if not expression.args:
        return expression
    return _fold(expression.op, [restrict(part, name, value) for part in expression.args])


def folded(expression: Expression) -> Expression:
    """The expression with everything that is decided already folded away."""
    return _fold(expression.op, [folded(part) for part in expression.args]) if expression.args else expression


def _fold(op: str, parts: list[Expression]) -> Expression:
    """An operator applied to parts of which some are constants."""
    if op in COMPARISONS or OPERATORS[op].gives == "number":
        node = Expression(op, tuple(parts))
        if op not in COMPARISONS or node.variables():
            return node
        return constant(bool(predicate(node)({})))
    if op == "not":
        return constant(not parts[0].value) if parts[0].op == "constant" else Expression("not", (parts[0],))
    if op == "implies":
        return _fold("or", [_fold("not", [parts[0]]), parts[1]])
    if op in ("iff", "xor"):
        for one, other in (parts, parts[::-1]):
            if one.op == "constant":
                return other if bool(one.value) == (op == "iff") else _fold("not", [other])
        return Expression(op, tuple(parts))
    decisive = op == "or"  # true decides a disjunction, false a conjunction
    if any(part.op == "constant" and part.value is decisive for part in parts):
        return constant(decisive)
    rest = tuple(dict.fromkeys(part for part in parts if part.op != "constant"))
    if not rest:
        return constant(not decisive)
    return rest[0] if len(rest) == 1 else Expression(op, rest)
