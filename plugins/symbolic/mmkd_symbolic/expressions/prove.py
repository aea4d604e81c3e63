"""Proofs over declared domains: equivalence and satisfiability, each with the way that decided it.

Where every comparison sees one variable against numbers, a real variable is cut into finitely many cells (the numbers
that it is compared with, and the intervals between them); truth is constant on a cell, so one point of each decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy.logic.inference import satisfiable as sympy_satisfiable

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions.domains import Domains, Finite, Real, domain_of
from mmkd_symbolic.expressions.expression import COMPARISONS, Expression, Sort
from mmkd_symbolic.expressions.restrict import folded, restrict
from mmkd_symbolic.expressions.simplify import to_sympy
from mmkd_symbolic.expressions.to_numpy import predicate

EXHAUSTIVE = 1 << 20
MOST_CASES = 20_000
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Proof:
    """The answer to a question of logic.

    Arguments:
        holds: the answer.
        how: what decided it.
        witness: values of the variables that show it: of a solution, or of a difference; None where there are none.
    """

    holds: bool
    how: str
    witness: Mapping[str, float] | None = None

    def __bool__(self) -> bool:
        return self.holds


def equivalent(one: Expression, other: Expression, domains: Domains | None = None) -> Proof:
    """Whether two expressions have the same truth everywhere; `witness` is a place where they differ.

    Arguments:
        one, other: of sort truth.
        domains: of every variable that is a number.

    Raises `ConfigError` for a number without a domain, and where nothing here can decide.
    """
    difference = satisfiable(Expression("xor", (one, other)), domains)
    return Proof(not difference.holds, difference.how, difference.witness)


def satisfiable(expression: Expression, domains: Domains | None = None) -> Proof:
    """Whether some values make the expression true; `witness` holds them. Raises like `equivalent`."""
    domains = domains or {}
    sorts = expression.variables()
    points = {name: _points(expression, name, sort, domains) for name, sort in sorts.items()}
    finite = {name: values for name, values in points.items() if values is not None}
    if len(finite) < len(points):
        return _by_linear_arithmetic(expression, sorts, domains)
    if math.prod(map(len, finite.values())) <= EXHAUSTIVE:
        return _by_enumeration(expression, finite, domains)
    by_cases = _by_cases(expression, sorts, finite)
    return _by_sat(expression, sorts, finite) if by_cases is None else by_cases


def require_satisfiable(expression: Expression, domains: Domains | None = None, *, text: str = "") -> None:
    """Raise `ConfigError` where no value makes the rule true."""
    if not (proof := satisfiable(expression, domains)):
        names = ", ".join(expression.variables()) or "no variable"
        raise ConfigError(
            f"rule '{text or expression}' contradicts itself: no value of {names} makes it true ({proof.how})"
        )


def _points(expression: Expression, name: str, sort: Sort, domains: Domains) -> tuple[float, ...] | None:
    """Values of a variable that together show all that it can do; None where there are infinitely many."""
    domain = domain_of(name, sort, domains)
    if isinstance(domain, Finite):
        return domain.values
    thresholds = set()
    for node in expression.walk():
        if node.op in COMPARISONS and name in node.variables():
            left, right = node.args
            against = right if left.op == "variable" else left
            if {left.op, right.op} != {"variable", "constant"}:
                return None
            thresholds.add(float(against.value or 0.0))
    return _cells(domain, sorted(thresholds))


def _cells(domain: Real, thresholds: list[float]) -> tuple[float, ...]:
    inside = [t for t in thresholds if domain.low <= t <= domain.high]
    edges = sorted({*inside, *(end for end in (domain.low, domain.high) if math.isfinite(end))})
    points = set(edges)
    for low, high in itertools.pairwise(edges):
        points.add(low + (high - low) / 2)
    if not math.isfinite(domain.low):
        points.add(edges[0] - 1 if edges else 0.0)
    if not math.isfinite(domain.high):
        points.add(edges[-1] + 1 if edges else 0.0)
    return tuple(sorted(points))


def _by_enumeration(expression: Expression, points: Mapping[str, tuple[float, ...]], domains: Domains) -> Proof:
    count = math.prod(map(len, points.values()))
    what = "cells" if any(isinstance(domains.get(name), Real) for name in points) else "combinations of values"
    how = f"all {count} {what}"
    truth = predicate(expression)
    if not points:
        return Proof(bool(truth({})), how, {} if bool(truth({})) else None)
    sizes = [len(values) for values in points.values()]
    for start in range(0, count, _CHUNK):
        places = np.unravel_index(np.arange(start, min(start + _CHUNK, count)), sizes)
        grid = {name: np.asarray(values)[at] for (name, values), at in zip(points.items(), places, strict=True)}
        if (found := np.flatnonzero(truth(grid))).size:
            return Proof(True, how, {name: float(values[found[0]]) for name, values in grid.items()})
    return Proof(False, how)


def _by_cases(
    expression: Expression, sorts: Mapping[str, Sort], points: Mapping[str, tuple[float, ...]]
) -> Proof | None:
    """Decide one variable after the other, and no rest of the expression twice; None where there are too many rests."""
    refuted: set[Expression] = set()

    def solve(rest: Expression) -> dict[str, float] | None:
        if rest.op == "constant":
            return {} if rest.value else None
        if rest in refuted or len(refuted) > MOST_CASES:
            return None
        name = next(iter(rest.variables()))
        for value in points[name]:
            chosen = bool(value) if sorts[name] == "truth" else value
            if (found := solve(restrict(rest, name, chosen))) is not None:
                return {name: value, **found}
        refuted.add(rest)
        return None

    solution = solve(folded(expression))
    if solution is None and len(refuted) > MOST_CASES:
        return None
    how = f"deciding variable after variable, {len(refuted)} cases refuted"
    if solution is None:
        return Proof(False, how)
    return Proof(True, how, {name: solution.get(name, values[0]) for name, values in points.items()})


def _by_sat(expression: Expression, sorts: Mapping[str, Sort], points: Mapping[str, tuple[float, ...]]) -> Proof:
    """Sympy's SAT solver, with a proposition per variable and value."""
    says = {
        name: {value: sympy.Symbol(f"{number}@{value!r}") for value in points[name]}
        for number, name in enumerate(points)
    }

    def atom(clauses: Clauses, node: Expression) -> Any:
        if node.op == "variable":
            return says[str(node.value)][1.0]
        names, truth = list(node.variables()), predicate(node)
        cases = [
            clauses.all_of([says[name][value] for name, value in zip(names, case, strict=True)])
            for case in itertools.product(*(points[name] for name in names))
            if truth(dict(zip(names, case, strict=True)))
        ]
        return clauses.any_of(cases)

    clauses = Clauses(atom)
    clauses.found += [clause for symbols in says.values() for clause in _exactly_one(list(symbols.values()))]
    found = sympy_satisfiable(clauses.of(expression))
    how = "sympy's SAT solver"
    if not found:
        return Proof(False, how)
    chosen = {
        name: next(value for value, symbol in symbols.items() if found.get(symbol)) for name, symbols in says.items()
    }
    return Proof(True, how, chosen)


class Clauses:
    """A formula in conjunctive form of its own size: a new proposition for every connective (Tseitin 1968).

    Arguments:
        atom: the literal of a variable or a comparison.
    """

    def __init__(self, atom: Callable[[Clauses, Expression], Any]) -> None:
        self.atom = atom
        self.found: list[Any] = []
        self._new = 0

    def of(self, expression: Expression) -> Any:
        """The conjunction that is satisfiable where the expression is."""
        root = self.literal(expression)
        return sympy.And(root, *self.found)

    def literal(self, node: Expression) -> Any:
        if node.op == "constant":
            name = self.name()
            self.found.append(name if node.value else sympy.Not(name))
            return name
        if node.op == "variable" or node.op in COMPARISONS:
            return self.atom(self, node)
        parts = [self.literal(part) for part in node.args]
        if node.op == "not":
            return sympy.Not(parts[0])
        if node.op == "and":
            return self.all_of(parts)
        if node.op == "or":
            return self.any_of(parts)
        if node.op == "implies":
            return self.any_of([sympy.Not(parts[0]), parts[1]])
        one, other = parts
        same = self.all_of([self.any_of([sympy.Not(one), other]), self.any_of([one, sympy.Not(other)])])
        return same if node.op == "iff" else sympy.Not(same)

    def all_of(self, parts: Sequence[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        name = self.name()
        self.found += [sympy.Or(sympy.Not(name), part) for part in parts]
        self.found.append(sympy.Or(name, *map(sympy.Not, parts)))
        return name

    def any_of(self, parts: Sequence[Any]) -> Any:
        return sympy.Not(self.all_of([sympy.Not(part) for part in parts]))

    def name(self) -> Any:
        self._new += 1
        return sympy.Symbol(f"t{self._new}")


def _exactly_one(symbols: list[sympy.Symbol]) -> Iterator[sympy.Basic]:
    yield sympy.Or(*symbols)
    for one, other in itertools.combinations(symbols, 2):
        yield sympy.Or(~one, ~other)


def _by_linear_arithmetic(expression: Expression, sorts: Mapping[str, Sort], domains: Domains) -> Proof:
    """Sympy's SAT solver with its theory of linear real arithmetic."""
    how = "sympy's SAT solver with linear real arithmetic"
    bounds = []
    for name, sort in sorts.items():
        domain = domain_of(name, sort, domains)
        if sort == "truth":
            continue
        symbol = sympy.Symbol(name, real=True)
        if isinstance(domain, Finite):
            raise ConfigError(
                f"'{expression}' mixes real numbers with '{name}' in ways that nothing here can decide",
                "declare every variable finite, or compare each with numbers alone",
            )
        bounds += [symbol >= sympy.Rational(domain.low)] if math.isfinite(domain.low) else []
        bounds += [symbol <= sympy.Rational(domain.high)] if math.isfinite(domain.high) else []
    try:
        found = sympy_satisfiable(sympy.And(to_sympy(expression, exact=True), *bounds), use_lra_theory=True)
    except Exception as error:  # sympy has no class of its own for what its theory lacks
        raise ConfigError(
            f"'{expression}' is more than linear arithmetic of real variables, and nothing here can decide it",
            "declare finite domains, or compare variables with numbers alone",
        ) from error
    return Proof(bool(found), how)
