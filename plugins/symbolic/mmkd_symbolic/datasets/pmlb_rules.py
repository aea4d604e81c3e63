"""The rules that made tables of PMLB: when a row is of the last class, over the variables on file.

They are those of the tables' documentation, in the files' own coding of the categories; each was compared with every
row of its table, and all rows agree but 6 of the 554 of monk3, to which its makers gave wrong labels on purpose.

Source: Thrun et al. 1991, The MONK's Problems (monk1-3; it speaks of categories by name); John et al. 1994, Irrelevant
Features and the Subset Selection Problem (corral); the names of the others (6-multiplexer, 3 of 9 in a row, three
disjoint terms of three, parity of five bits beside five irrelevant ones).
"""

from __future__ import annotations

from itertools import combinations

from mmkd_symbolic.expressions import Expression, constant, variable
from mmkd_symbolic.expressions.expression import all_of, any_of


def _set(name: str) -> Expression:
    return Expression("==", (variable(name), constant(1)))


def _two_of(names: list[str]) -> Expression:
    """Exactly two of the variables are 1."""
    cases = []
    for chosen in combinations(names, 2):
        cases.append(all_of([_set(name) if name in chosen else ~_set(name) for name in names]))
    return any_of(cases)


def _odd(names: list[str]) -> Expression:
    first, *rest = map(_set, names)
    for other in rest:
        first = first ^ other
    return first


def _terms(prefix: str, starts: list[int]) -> Expression:
    """Three numbered variables in a row are set, from one of `starts`."""
    return any_of([all_of([_set(f"{prefix}{start + step}") for step in range(3)]) for start in starts])


_RULES: dict[str, Expression | str] = {
    "monk1": "`Head shape` == `Body shape` or `Jacket color` == 2",
    "monk2": _two_of([f"attribute#{number}" for number in range(1, 7)]),
    "monk3": "`Jacket color` == 1 and Holding == 2 or `Jacket color` != 0 and `Body shape` != 0",
    "corral": "A0 == 1 and A1 == 1 or B0 == 1 and B1 == 1",
    "mux6": any_of(
        [
            all_of(
                [
                    _set("Address bit 1") if number & 2 else ~_set("Address bit 1"),
                    _set("Address bit 2") if number & 1 else ~_set("Address bit 2"),
                    _set(f"Bit {number}"),
                ]
            )
            for number in range(4)
        ]
    ),
    "xd6": _terms("Attribute ", [1, 4, 7]),
    "threeOf9": _terms("F", list(range(1, 8))),
    "parity5+5": _odd([f"Bit {number}" for number in (2, 3, 4, 6, 8)]),
}
RULES: dict[str, tuple[str, ...]] = {table: (str(rule),) for table, rule in _RULES.items()}
