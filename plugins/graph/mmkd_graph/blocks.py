"""Large graphs with communities: drawn in blocks, kept as compressed rows, summed layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

DRAWN_AT_ONCE = 1 << 22  # edges
SUMMED_AT_ONCE = 1 << 16  # rows


@dataclass(frozen=True)
class Adjacency:
    """An undirected graph without self loops as compressed rows.

    Arguments:
        start: `[N + 1]`; the neighbours of node i are `neighbour[start[i]:start[i + 1]]`.
        neighbour: `[E]` ids, each edge in both directions.
    """

    start: NDArray[np.int64]
    neighbour: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start) - 1

    def rows(self, first: int, last: int) -> sparse.csr_matrix:
        """Rows `first` to `last` of the adjacency matrix, with ones as values."""
        low, high = self.start[first], self.start[last]
        ones = np.ones(high - low, dtype=np.float32)
        shape = (last - first, len(self))
        return sparse.csr_matrix((ones, self.neighbour[low:high], self.start[first : last + 1] - low), shape)


def sample_blocks(
    labels: NDArray[np.int64], edges: int, faithful: float, skew: float, random: np.random.Generator
) -> Adjacency:
    """A stochastic block model whose popular nodes have many more edges than others.

    One end of an edge is drawn evenly. The other is of the same class with probability `faithful`, else of a class
    drawn by size; within a class the node of rank r is drawn with a density proportional to `r^(1/skew - 1)`.

    Arguments:
        labels: class of every node, `[N]`; every class has a node.
        edges: how many are drawn; repeated ones and self loops are dropped.
        faithful: share of edges whose second end is drawn within the first one's class.
        skew: 1 draws evenly.
        random: what draws.
    """
    order = np.argsort(labels, kind="stable").astype(np.int32)
    sizes = np.bincount(labels)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ends = []
    for begin in range(0, edges, DRAWN_AT_ONCE):
        count = min(DRAWN_AT_ONCE, edges - begin)
        one = random.integers(len(labels), size=count, dtype=np.int32)
        wanted = labels[one]
        stray = random.random(count, dtype=np.float32) >= faithful
        wanted[stray] = labels[random.integers(len(labels), size=int(stray.sum()))]
        rank = (sizes[wanted] * random.random(count) ** skew).astype(np.int64)
        ends.append((one, order[first[wanted] + rank]))
    one, other = (np.concatenate(side) for side in zip(*ends, strict=True))
    apart = one != other
    one, other = one[apart], other[apart]
    both = (np.concatenate([one, other]), np.concatenate([other, one]))
    matrix = sparse.coo_matrix((np.ones(len(both[0]), dtype=np.int8), both), (len(labels),) * 2).tocsr()
    matrix.sum_duplicates()
    return Adjacency(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False))


def write_hops(graph: Adjacency, hops: NDArray[np.float32]) -> None:
    """Fill `hops[:, k] = P^k x` from `hops[:, 0] = x`, P symmetric with self loops, as SIGN and SGC have it.

    One hop at a time for all nodes, so the cost is that of `K` sparse products, whatever the depth of a node's
    neighbourhood; memory holds two hops beside what the operating system keeps of a memory-mapped `hops`.

    Arguments:
        graph: the graph.
        hops: `[N, K + 1, F]`, changed in place; a memory map will do.
    """
    scale = (np.diff(graph.start) + 1.0).astype(np.float32) ** -0.5
    before = hops[:, 0] * scale[:, None]
    for hop in range(1, hops.shape[1]):
        after = np.empty_like(before)
        for low in range(0, len(graph), SUMMED_AT_ONCE):
            high = min(low + SUMMED_AT_ONCE, len(graph))
            after[low:high] = (graph.rows(low, high) @ before + before[low:high]) * scale[low:high, None]
            hops[low:high, hop] = after[low:high]
        before = after
        before *= scale[:, None]
