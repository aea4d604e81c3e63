"""Shorter expressions of the same truth, through sympy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions.expression import Expression, all_of, any_of, constant, variable

_TO: dict[str, Callable[..., Any]] = {
    "not": sympy.Not,
    "and": sympy.And,
    "or": sympy.Or,
    "xor": sympy.Xor,
    "implies": sympy.Implies,
    "iff": sympy.Equivalent,
    "<": sympy.Lt,
    "<=": sympy.Le,
    ">": sympy.Gt,
    ">=": sympy.Ge,
    "==": sympy.Eq,
    "!=": sympy.Ne,
    "+": sympy.Add,
    "*": sympy.Mul,
    "-": lambda a, b: a - b,
    "/": lambda a, b: a / b,
    "neg": lambda a: -a,
}
_RELATIONS = {
    sympy.StrictLessThan: "<",
    sympy.LessThan: "<=",
    sympy.StrictGreaterThan: ">",
    sympy.GreaterThan: ">=",
    sympy.Equality: "==",
    sympy.Unequality: "!=",
}


MOST_PROPOSITIONS = 6


def simplify(expression: Expression) -> Expression:
    """An equivalent expression that is mostly shorter, whatever the domains of its variables.

    Sympy brings each comparison into its normal form (`2 * x - 1 > 0` is `x > 0.5`), minimises the logic over up to 6
    different propositions (it is exponential in them; more are left in their structure), and of several bounds of one
    variable in a conjunction or disjunction the decisive one stays.
    """
    if expression.sort == "number":
        return from_sympy(sympy.simplify(to_sympy(expression)))
    sorts = expression.variables()
    names: dict[Any, Any] = {}

    def proposition(node: Expression) -> Any:
        relation = to_sympy(node)
        relation = relation.canonical if relation.is_Relational else relation
        if relation in (sympy.true, sympy.false):
            return relation
        if (opposite := relation.negated.canonical) in names:
            return sympy.Not(names[opposite])
        return names.setdefault(relation, sympy.Symbol(f"{len(names)}?"))

    def logic(node: Expression) -> Any:
        if node.op in _RELATIONS.values():
            return proposition(node)
        return _TO[node.op](*map(logic, node.args)) if node.args else to_sympy(node)

    skeleton = logic(expression)
    if len(skeleton.free_symbols) <= MOST_PROPOSITIONS:
        skeleton = sympy.simplify_logic(skeleton)
    meant = {symbol.name: relation for relation, symbol in names.items()}
    return _tightened(from_sympy(skeleton, meant)) if sorts else from_sympy(skeleton)


def _tightened(node: Expression) -> Expression:
    """Keep the decisive one of several bounds of a variable."""
    if node.op not in ("and", "or"):
        return Expression(node.op, tuple(map(_tightened, node.args)), node.value)
    bounds: dict[tuple[str, str], tuple[float, str]] = {}
    rest = []
    for part in map(_tightened, node.args):
        if part.op not in ("<", "<=", ">", ">=") or [a.op for a in part.args] != ["variable", "constant"]:
            rest.append(part)
            continue
        name, limit = str(part.args[0].value), float(part.args[1].value or 0.0)
        upper = part.op in ("<", "<=")
        known, strict = bounds.get((name, part.op[0]), (None, ""))
        smaller = upper == (node.op == "and")  # whether the smaller limit decides
        decides = known is None or (limit < known if smaller else limit > known)
        if limit == known:  # strict decides a conjunction, the other a disjunction
            decides = (len(part.op) == 1) == (node.op == "and")
        bounds[name, part.op[0]] = (limit, part.op) if decides or known is None else (known, strict)
    kept = [Expression(op, (variable(name), constant(limit))) for (name, _), (limit, op) in bounds.items()]
    return (all_of if node.op == "and" else any_of)([*rest, *kept])


def to_sympy(expression: Expression, *, exact: bool = False) -> Any:
    """The sympy expression; numbers become real symbols, truth values plain ones.

    Arguments:
        exact: write numbers as fractions, exactly as the floats are.
    """
    sorts = expression.variables(expression.sort or "truth")

    def convert(node: Expression) -> Any:
        if node.op == "variable":
            name = str(node.value)
            return sympy.Symbol(name, real=True) if sorts[name] == "number" else sympy.Symbol(name)
        if node.op == "constant":
            if isinstance(node.value, bool):
                return sympy.true if node.value else sympy.false
            number = float(node.value or 0.0)
            return sympy.Integer(int(number)) if number.is_integer() else _fraction(number, exact)
        return _TO[node.op](*map(convert, node.args))

    return convert(expression)


def _fraction(number: float, exact: bool) -> Any:
    """The float as a fraction: of its exact value, or of the decimal that it prints as, which converts back equal."""
    return sympy.Rational(number) if exact else sympy.Rational(repr(number))


def from_sympy(value: Any, meant: Mapping[str, Any] | None = None) -> Expression:
    """The expression that a sympy one writes.

    Arguments:
        value: of sympy.
        meant: what symbols stand for, where they are no variables.

    Raises `ConfigError` for functions that expressions do not have.
    """
    meant = meant or {}
    if value.is_Symbol:
        return from_sympy(meant[value.name]) if value.name in meant else variable(value.name)
    if value in (sympy.true, sympy.false):
        return constant(bool(value))
    if value.is_Number:
        return constant(float(value))
    parts = [from_sympy(argument, meant) for argument in value.args]
    if type(value) in _RELATIONS:
        return Expression(_RELATIONS[type(value)], tuple(parts))
    if isinstance(value, sympy.Not):
        (inner,) = value.args
        return from_sympy(meant[inner.name].negated) if inner.is_Symbol and inner.name in meant else ~parts[0]
    if isinstance(value, sympy.And):
        return all_of(parts)
    if isinstance(value, sympy.Or):
        return any_of(parts)
    if isinstance(value, sympy.Xor):
        return _chain("xor", parts)
    if isinstance(value, sympy.Implies):
        return parts[0].implies(parts[1])
    if isinstance(value, sympy.Equivalent):
        pairs = [Expression("iff", (parts[0], part)) for part in parts[1:]]
        return all_of(pairs)
    if value.is_Add:
        return Expression("+", tuple(parts))
    if value.is_Mul:
        return Expression("*", tuple(parts))
    if value.is_Pow and value.exp.is_Integer:
        power = abs(int(value.exp))
        product = parts[0] if power == 1 else Expression("*", (parts[0],) * power)
        return Expression("/", (constant(1), product)) if value.exp < 0 else product
    raise ConfigError(f"sympy's '{value}' cannot be written as an expression")


def _chain(op: str, parts: list[Expression]) -> Expression:
    first, *rest = parts
    for part in rest:
        first = Expression(op, (first, part))
    return first
