"""The expression: variables and constants under logic, comparisons and arithmetic."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mmkd.errors import ConfigError

Sort = Literal["truth", "number"]


@dataclass(frozen=True)
class Operator:
    """What an operator takes and gives.

    Arguments:
        symbol: how it is written.
        takes, gives: sort of its arguments and of its value.
        binds: precedence; a higher one binds tighter.
        arity: number of arguments; 0: two or more.
    """

    symbol: str
    takes: Sort
    gives: Sort
    binds: int
    arity: int


OPERATORS = {
    op.symbol: op
    for op in (
        Operator("iff", "truth", "truth", 1, 2),
        Operator("implies", "truth", "truth", 2, 2),
        Operator("or", "truth", "truth", 3, 0),
        Operator("xor", "truth", "truth", 4, 2),
        Operator("and", "truth", "truth", 5, 0),
        Operator("not", "truth", "truth", 6, 1),
        *(Operator(symbol, "number", "truth", 7, 2) for symbol in ("<", "<=", ">", ">=", "==", "!=")),
        Operator("+", "number", "number", 8, 0),
        Operator("-", "number", "number", 8, 2),
        Operator("*", "number", "number", 9, 0),
        Operator("/", "number", "number", 9, 2),
        Operator("neg", "number", "number", 10, 1),
    )
}
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
WORDS = {"iff", "implies", "or", "xor", "and", "not", "true", "false"}
_ATOM = 11


@dataclass(frozen=True)
class Expression:
    """A node of an expression; immutable, compared by structure.

    Arguments:
        op: `variable`, `constant`, or an operator of `OPERATORS` (`neg` is the sign).
        args: its arguments.
        value: name of a variable; number or truth value of a constant.

    Raises:
        ConfigError: an unknown operator, a wrong number of arguments, or a number where a truth value belongs.
    """

    op: str
    args: tuple[Expression, ...] = ()
    value: str | float | bool | None = None

    def __post_init__(self) -> None:
        if self.op == "variable":
            if not isinstance(self.value, str) or not self.value or "`" in self.value:
                raise ConfigError(f"{self.value!r} is no name of a variable")
        elif self.op == "constant":
            if not isinstance(self.value, bool | float) or not math.isfinite(self.value):
                raise ConfigError(f"{self.value!r} is neither a finite number nor a truth value")
        elif self.op not in OPERATORS:
            raise ConfigError(f"there is no operator '{self.op}'", f"operators: {', '.join(OPERATORS)}")
        else:
            self._check_arguments(OPERATORS[self.op])

    def _check_arguments(self, operator: Operator) -> None:
        if len(self.args) != operator.arity and (operator.arity or len(self.args) < 2):
            raise ConfigError(f"'{self.op}' takes {operator.arity or 'two or more'} arguments, not {len(self.args)}")
        for argument in self.args:
            if argument.sort not in (operator.takes, None):
                raise ConfigError(f"'{self.op}' takes a {operator.takes}, and '{argument}' is a {argument.sort}")

    @property
    def sort(self) -> Sort | None:
        """`truth` or `number`; None for a variable, whose sort is that of its place."""
        if self.op == "variable":
            return None
        if self.op == "constant":
            return "truth" if isinstance(self.value, bool) else "number"
        return OPERATORS[self.op].gives

    def walk(self) -> Iterator[Expression]:
        """Every node, this one first."""
        yield self
        for argument in self.args:
            yield from argument.walk()

    def variables(self, sort: Sort = "truth") -> dict[str, Sort]:
        """Sort of every variable, in order of appearance; a lone variable is of `sort`.

        Raises `ConfigError` for a variable that is used as a number and as a truth value.
        """
        if self.op == "variable":
            return {str(self.value): sort}
        found: dict[str, Sort] = {}
        for argument in self.args:
            for name, used in argument.variables(OPERATORS[self.op].takes).items():
                if found.setdefault(name, used) != used:
                    raise ConfigError(f"'{self}' uses '{name}' both as a number and as a truth value")
        return found

    def __str__(self) -> str:
        return self._print()[0]

    def _print(self) -> tuple[str, int]:
        """The text, and how tightly its outermost operator binds."""
        if self.op == "variable":
            name = str(self.value)
            return (name if PLAIN_NAME.fullmatch(name) and name not in WORDS else f"`{name}`"), _ATOM
        if self.op == "constant":
            if isinstance(self.value, bool):
                return str(self.value).lower(), _ATOM
            number = float(self.value or 0.0)
            text = str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
            return text, OPERATORS["neg"].binds if text.startswith("-") else _ATOM
        operator = OPERATORS[self.op]
        if operator.arity == 1:
            inner = self.args[0]
            text, binds = inner._print()
            bare = binds == _ATOM and not (self.op == "neg" and inner.op == "constant")
            symbol = "-" if self.op == "neg" else "not "
            return symbol + (text if bare else f"({text})"), operator.binds
        shown = []
        for place, argument in enumerate(self.args):
            text, binds = argument._print()
            # The parser reads `a - b + c` from the left, and flattens `a + b + c`.
            first = place == 0 and operator.takes == operator.gives == "number" and argument.op != self.op
            left = place == 0 and self.op in ("-", "/")
            fits = binds > operator.binds or (binds == operator.binds and (first or left))
            shown.append(text if fits else f"({text})")
        return f" {self.op} ".join(shown), operator.binds

    def __and__(self, other: Expression) -> Expression:
        return Expression("and", (self, other))

    def __or__(self, other: Expression) -> Expression:
        return Expression("or", (self, other))

    def __xor__(self, other: Expression) -> Expression:
        return Expression("xor", (self, other))

    def __invert__(self) -> Expression:
        return Expression("not", (self,))

    def implies(self, other: Expression) -> Expression:
        return Expression("implies", (self, other))


def variable(name: str) -> Expression:
    """A variable: a number or a truth value, by the place where it stands."""
    return Expression("variable", value=name)


def constant(value: float | bool) -> Expression:
    """A number or a truth value."""
    return Expression("constant", value=value if isinstance(value, bool) else float(value))


def all_of(parts: list[Expression]) -> Expression:
    """The conjunction; true where there are none."""
    if len(parts) < 2:
        return parts[0] if parts else constant(True)
    return Expression("and", tuple(parts))


def any_of(parts: list[Expression]) -> Expression:
    """The disjunction; false where there are none."""
    if len(parts) < 2:
        return parts[0] if parts else constant(False)
    return Expression("or", tuple(parts))
