"""Graphs whose nodes and edges are of several types, and the paths that join two nodes of one type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmkd.errors import DataError

Rows = NDArray[np.int64]
EdgeType = tuple[str, str, str]
"""Type of the source, name of the tie, type of the target."""


@dataclass(frozen=True)
class TypedGraph:
    """Nodes of several types and the edges between them.

    Arguments:
        features: `[nodes, F]` float32 by type of node; sizes may differ.
        edges: `[2, E]` (source, target) by type of edge.
        target: the type of node that is to be classified.
        labels: its classes, `[nodes]`; -1 where unknown.
        classes: their names.
    """

    features: Mapping[str, NDArray[np.float32]]
    edges: Mapping[EdgeType, Rows]
    target: str
    labels: Rows
    classes: tuple[str, ...]

    def neighbours(self, source: str, target: str) -> sparse.csr_array:
        """Who is tied to whom, whatever the tie: 0 or 1, `[nodes of target, nodes of source]`."""
        shape = len(self.features[target]), len(self.features[source])
        ties = [edges for (a, _, b), edges in self.edges.items() if (a, b) == (source, target)]
        if not ties:
            raise DataError(f"the graph has no edge from {source} to {target}")
        sources, targets = np.concatenate(ties, 1)
        tied = sparse.csr_array((np.ones(len(sources), np.float32), (targets, sources)), shape=shape)
        tied.data[:] = 1
        return tied


def with_reverse(edges: Mapping[EdgeType, Rows]) -> dict[EdgeType, Rows]:
    """Each type of edge and its reverse, `rev_<name>`, unless the pair of types is joined the other way already."""
    joined = {(source, target) for source, _, target in edges}
    both = dict(edges)
    for (source, name, target), rows in edges.items():
        if source != target and (target, source) not in joined:
            both[target, f"rev_{name}", source] = rows[::-1].copy()
    return both


def paths(graph: TypedGraph, between: Sequence[str], largest: int, seed: int = 0) -> Rows:
    """Pairs of target nodes that a metapath joins, such as two papers of one author; no node with itself.

    Arguments:
        graph: the graph.
        between: types passed on the way, e.g. `["author"]`; none: a direct edge, either way.
        largest: neighbours that each node keeps. Of more, as many are drawn without regard to labels; so the pair need
            not be there the other way round.
        seed: of the draw.

    Returns:
        `[2, E]`: the neighbour (source) and the node that keeps it (target), sorted by target.
    """
    stops = [graph.target, *between, graph.target]
    if between:
        joined = graph.neighbours(stops[0], stops[1])
        for source, target in pairwise(stops[1:]):
            joined = graph.neighbours(source, target) @ joined
    else:
        direct = graph.neighbours(graph.target, graph.target)
        joined = direct + direct.T
    joined = sparse.csr_array(joined)
    joined.setdiag(0)
    joined.eliminate_zeros()
    joined.sort_indices()
    random = np.random.default_rng(seed)
    kept = [
        one if len(one) <= largest else np.sort(random.choice(one, largest, replace=False))
        for one in np.split(joined.indices, joined.indptr[1:-1])
    ]
    targets = np.repeat(np.arange(len(kept)), [len(one) for one in kept])
    return np.stack([np.concatenate(kept), targets]).astype(np.int64)
