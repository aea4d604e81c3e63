"""Rules about a table's variables and classes, checked, and read as a table of truth for every row and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from mmkd.components import suggest
from mmkd.errors import ConfigError
from mmkd_symbolic.expressions import Domain, Expression, constant, parse, satisfiable, variable
from mmkd_symbolic.expressions.expression import all_of, any_of
from mmkd_symbolic.expressions.to_numpy import predicate


class RuleSet:
    """Rules such as `u0 > 0.6 and b0 == 1 implies spam`: names of variables are numbers, names of classes truth values.

    A row has exactly one class. A variable that is coded by columns `name=value` has that value.

    Arguments:
        rules: their text.
        columns: names of the columns of a row.
        classes: names of the classes.
        domains: of the variables.

    Raises:
        ConfigError: no rules; a rule that cannot be read, names what is neither variable nor class, or contradicts
            itself; rules that together leave some input without a class.
    """

    def __init__(
        self, rules: Sequence[str], columns: Sequence[str], classes: Sequence[str], domains: Mapping[str, Domain]
    ) -> None:
        if not rules:
            raise ConfigError("there are no rules", 'give them: rules = ["x > 1 implies a"]')
        self.columns, self.classes = tuple(columns), tuple(classes)
        self.rules = [parse(text) for text in rules]
        known = sorted({name.partition("=")[0] for name in columns})
        if clash := set(known) & set(classes):
            raise ConfigError(f"'{min(clash)}' is a column and a class", "rename one of them")
        for rule in self.rules:
            for name, sort in rule.variables().items():
                if name in known and sort == "truth":
                    raise ConfigError(
                        f"rule '{rule}' takes the column '{name}' for a truth value", "compare it with a number"
                    )
            if unknown := [name for name in rule.variables() if name not in known and name not in self.classes]:
                raise ConfigError(
                    f"rule '{rule}' names '{unknown[0]}', which is neither a column nor a class",
                    suggest(unknown[0], [*known, *self.classes]),
                )
        self._check(domains)
        self._predicates = [[predicate(_given(rule, self.classes, name)) for name in classes] for rule in self.rules]

    def _check(self, domains: Mapping[str, Domain]) -> None:
        """Refuse a rule that nothing satisfies, and rules that forbid every class somewhere."""

        def forbids_all(rule: Expression) -> Expression:
            return ~any_of([_given(rule, self.classes, name) for name in self.classes])

        for rule in self.rules:
            if not satisfiable(~forbids_all(rule), domains):
                raise ConfigError(f"rule '{rule}' contradicts itself: no input and no class makes it true")
        stuck = satisfiable(forbids_all(all_of(self.rules)), domains)
        if stuck:
            where = ", ".join(f"{name} = {value:g}" for name, value in (stuck.witness or {}).items()) or "every input"
            which = (
                f"rule '{self.rules[0]}' leaves"
                if len(self.rules) == 1
                else "the rules contradict each other: they leave"
            )
            raise ConfigError(f"{which} no class at {where}", "mend or drop a rule")

    def truths(self, x: Float32[np.ndarray, "B F"]) -> Float32[np.ndarray, "R B classes"]:
        """Truth, 0 or 1, of each rule for each row and each class that the row may have."""
        values = self._values(x)
        truth = [[np.broadcast_to(check(values), len(x)) for check in checks] for checks in self._predicates]
        return np.array(truth, np.float32).transpose(0, 2, 1)

    def _values(self, x: Float32[np.ndarray, "B F"]) -> dict[str, np.ndarray]:
        """Values of the variables of every row."""
        values: dict[str, np.ndarray] = {}
        for number, column in enumerate(self.columns):
            name, coded, value = column.partition("=")
            if coded:
                values[name] = values.get(name, np.zeros(len(x))) + x[:, number] * float(value)
            else:
                values[name] = x[:, number]
        return values


def _given(rule: Expression, classes: Sequence[str], chosen: str) -> Expression:
    """The rule for a row of one class."""
    if rule.op == "variable" and rule.value in classes:
        return constant(rule.value == chosen)
    if not rule.args:
        return rule if rule.op == "constant" else variable(str(rule.value))
    return Expression(rule.op, tuple(_given(part, classes, chosen) for part in rule.args))
