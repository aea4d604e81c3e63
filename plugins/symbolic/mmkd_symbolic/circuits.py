"""Weighted model counting: constraints as circuits of literals, decomposable conjunctions and deterministic
disjunctions, on which the probability of a constraint is one pass of products and sums.

Source: Darwiche 2003, A Differential Approach to Inference in Bayesian Networks, and 2011, SDD: A New Canonical
Representation of Propositional Knowledge Bases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mmkd.errors import ConfigError, DataError
from mmkd_symbolic.expressions.expression import Expression
from mmkd_symbolic.expressions.restrict import folded, restrict

MOST_NODES = 100_000


@dataclass(frozen=True)
class Node:
    """One node: `true`, `false`, a `literal`, or a disjunction of conjunctions of pairs of earlier nodes.

    Arguments:
        literal: variable number plus 1, negative where it is negated; 0 for no literal.
        pairs: (prime, sub) of each conjunct.
        truth: of a node that is neither.
    """

    literal: int = 0
    pairs: tuple[tuple[int, int], ...] = ()
    truth: bool | None = None


@dataclass(frozen=True)
class Circuit:
    """Nodes, children before parents; the last one is the constraint.

    Arguments:
        variables: their number.
        nodes: at least one.
    """

    variables: int
    nodes: tuple[Node, ...]

    def log_count(self, logits: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch"]:
        """Log of the probability that the constraint holds where variable v is true with sigmoid(logits[v])."""
        yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
        impossible = logits.new_full(logits.shape[:-1], -torch.inf)
        certain = logits.new_zeros(logits.shape[:-1])
        said: list[Tensor | None] = []  # None: false, so that no -inf meets another in a gradient
        for node in self.nodes:
            if node.literal:
                side = yes if node.literal > 0 else no
                said.append(side[..., abs(node.literal) - 1])
            elif node.truth is not None:
                said.append(certain if node.truth else None)
            else:
                terms = [
                    one + other
                    for prime, sub in node.pairs
                    if (one := said[prime]) is not None and (other := said[sub]) is not None
                ]
                said.append(torch.stack(terms).logsumexp(0) if terms else None)
        last = said[-1]
        return impossible if last is None else last


def compile_circuit(expression: Expression, variables: Sequence[str]) -> Circuit:
    """The circuit of a constraint over truth values, by deciding one variable after the other (an ordered decision
    diagram in the order of `variables`).

    Raises:
        ConfigError: the constraint speaks of numbers or of other variables, contradicts itself, or is too large.
    """
    sorts = expression.variables()
    if strange := [name for name, sort in sorts.items() if sort == "number" or name not in variables]:
        raise ConfigError(
            f"constraint '{expression}' names '{strange[0]}', which is no output", f"outputs: {', '.join(variables)}"
        )
    nodes: list[Node] = []
    place: dict[Node, int] = {}
    known: dict[Expression, int] = {}

    def add(node: Node) -> int:
        if node not in place:
            if len(nodes) >= MOST_NODES:
                raise ConfigError(f"the constraint needs a circuit of more than {MOST_NODES} nodes", "split it")
            place[node] = len(nodes)
            nodes.append(node)
        return place[node]

    def build(rest: Expression, level: int) -> int:
        if rest.op == "constant":
            return add(Node(truth=bool(rest.value)))
        if rest in known:
            return known[rest]
        names = rest.variables()
        while variables[level] not in names:
            level += 1
        name, literal = variables[level], level + 1
        high, low = (build(restrict(rest, name, value), level + 1) for value in (True, False))
        known[rest] = high if high == low else add(Node(pairs=((add(Node(literal)), high), (add(Node(-literal)), low))))
        return known[rest]

    root = build(folded(expression), 0)
    if nodes[root].truth is False:
        raise ConfigError(f"constraint '{expression}' contradicts itself: nothing satisfies it")
    if root != len(nodes) - 1:  # the root is a node that others share: say it again at the end
        nodes.append(Node(pairs=((root, add(Node(truth=True))),)))
    return Circuit(len(variables), tuple(nodes))


def read_sdd(path: Path) -> Circuit:
    """A circuit from a file of the SDD package: lines `F id`, `T id`, `L id vtree literal`, `D id vtree n {prime sub}`.

    Raises:
        DataError: the file is no such text, or a node names one that does not stand before it.
    """
    nodes: list[Node] = []
    place: dict[int, int] = {}
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            kind, *rest = line.split() or ["c"]
            if kind in ("c", "sdd"):
                continue
            number, *values = map(int, rest)
            place[number] = len(nodes)
            if kind in ("T", "F"):
                nodes.append(Node(truth=kind == "T"))
            elif kind == "L":
                nodes.append(Node(literal=values[1]))
            elif kind == "D" and len(values) == 2 + 2 * values[1]:
                children = [place[child] for child in values[2:]]
                nodes.append(Node(pairs=tuple(zip(children[::2], children[1::2], strict=True))))
            else:
                raise ValueError(f"the line '{line[:60]}' is none of its kinds")
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{path} cannot be read as an SDD: {' '.join(str(error).split())}") from error
    if not nodes:
        raise DataError(f"{path} holds no nodes")
    return Circuit(max(abs(node.literal) for node in nodes), tuple(nodes))
