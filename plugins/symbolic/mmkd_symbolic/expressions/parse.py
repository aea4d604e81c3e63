"""Reads what an expression prints, and what people write."""

from __future__ import annotations

import re

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions.expression import COMPARISONS, Expression, constant, variable

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|`(?P<quoted>[^`]+)`|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)"
    r"|(?P<symbol><=|>=|==|!=|[<>+\-*/()]))"
)
# From loose to tight; each level reads the next one as its arguments.
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("iff",),
    ("implies",),
    ("or",),
    ("xor",),
    ("and",),
    ("not",),
    COMPARISONS,
    ("+", "-"),
    ("*", "/"),
)


def parse(text: str) -> Expression:
    """The expression that a text writes.

    Logic: `not`, `and`, `xor`, `or`, `implies` (from the right), `iff`, in falling precedence. Comparisons: `<`, `<=`,
    `>`, `>=`, `==`, `!=`. Arithmetic: `+`, `-`, `*`, `/`. Names that are no identifiers stand in backticks.

    Raises:
        ConfigError: with the rule, and the place where it cannot be read.
    """
    try:
        return _Parser(text).whole()
    except ConfigError as error:
        raise ConfigError(f"rule '{text}': {error.cause}", error.way_out) from error
    except RecursionError as error:
        raise ConfigError(f"rule '{text[:40]}...' is nested too deeply") from error


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                raise ConfigError(f"character {start + 1}, '{text[start]}', means nothing")
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            position = match.end()
        self.place = 0

    def whole(self) -> Expression:
        expression = self._level(0)
        if self.place < len(self.tokens):
            raise ConfigError(f"{self._here()} where it should end")
        expression.variables()
        return expression

    def _here(self) -> str:
        if self.place >= len(self.tokens):
            return "it ends"
        _, text, start = self.tokens[self.place]
        return f"'{text}' stands at character {start + 1}"

    def _next(self, *symbols: str) -> str | None:
        """Take the next token if it is one of `symbols`; a quoted name never is."""
        if self.place < len(self.tokens):
            kind, text, _ = self.tokens[self.place]
            if text in symbols and kind != "quoted":
                self.place += 1
                return text
        return None

    def _level(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        operators = _LEVELS[level]
        if operators == ("not",):
            return Expression("not", (self._level(level),)) if self._next("not") else self._level(level + 1)
        left = self._level(level + 1)
        if operators == ("implies",):
            return Expression("implies", (left, self._level(level))) if self._next("implies") else left
        chain: str | None = None  # the operator of `left`, where it was read here and may grow
        while (found := self._next(*operators)) is not None:
            if operators is COMPARISONS and chain:
                raise ConfigError(f"two comparisons in a row at '{found}'", "write `a < b and b < c`")
            right = self._level(level + 1)
            grows = chain == found and found in ("and", "or", "+", "*")
            left = Expression(found, (*left.args, right)) if grows else Expression(found, (left, right))
            chain = found
        return left

    def _unary(self) -> Expression:
        if self._next("-"):
            if self.place < len(self.tokens) and self.tokens[self.place][0] == "number":
                return constant(-self._number())
            return Expression("neg", (self._unary(),))
        if self._next("("):
            inner = self._level(0)
            if not self._next(")"):
                raise ConfigError(f"{self._here()} where ')' is expected")
            return inner
        if self.place < len(self.tokens):
            kind, text, _ = self.tokens[self.place]
            if kind == "number":
                return constant(self._number())
            if kind == "quoted" or (kind == "word" and text not in sum(_LEVELS, ())):
                self.place += 1
                return constant(text == "true") if kind == "word" and text in ("true", "false") else variable(text)
        raise ConfigError(f"{self._here()} where a name, a number or '(' is expected")

    def _number(self) -> float:
        self.place += 1
        return float(self.tokens[self.place - 1][1])
