"""A graph as it is read from a file, and what is done to it before it becomes a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """Nodes with features and labels, and what ties them.

    Arguments:
        features: `[N, F]`, float32.
        adjacency: `[N, N]`; what is not 0 is an edge.
        labels: class per node, `[N]`, int64 in `[0, len(classes))`; -1 where none is known.
        classes: names of the classes.
    """

    features: NDArray[np.float32]
    adjacency: sparse.csr_array
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def edge_index(self) -> Tensor:
        """Every stored edge as (source, target), by source, then target; int64 `[2, E]`."""
        source, target = self.adjacency.tocsr().sorted_indices().nonzero()
        return torch.from_numpy(np.stack([source, target]).astype(np.int64))


def standardise(graph: Graph) -> Graph:
    """The form in which the CPF splits are defined: unweighted, undirected, no self loops, largest component.

    Nodes keep their order and features their values; classes that vanish with the smaller components are dropped.
    """
    adjacency = undirected(graph.adjacency)
    _, component = csgraph.connected_components(adjacency, directed=False)
    kept = np.flatnonzero(component == np.bincount(component).argmax())
    present, labels = np.unique(graph.labels[kept], return_inverse=True)
    return Graph(
        graph.features[kept],
        adjacency[kept][:, kept].tocsr(),
        labels.astype(np.int64),
        tuple(graph.classes[label] for label in present),
    )


def simple(graph: Graph) -> Graph:
    """The same nodes with unweighted, undirected edges and no self loops."""
    return replace(graph, adjacency=undirected(graph.adjacency))


def undirected(adjacency: sparse.csr_array) -> sparse.csr_array:
    """1 where there is an edge either way, 0 on the diagonal and elsewhere; `[N, N]`, float32."""
    pairs = adjacency.tocoo()
    tied = (pairs.row != pairs.col) & (pairs.data != 0)
    row, column = pairs.row[tied], pairs.col[tied]
    both = np.unique(np.stack([np.append(row, column), np.append(column, row)]), axis=1)
    return sparse.csr_array((np.ones(both.shape[1], np.float32), (both[0], both[1])), shape=adjacency.shape)


def nearest_neighbours(points: NDArray[np.int64], count: int) -> sparse.csr_array:
    """The undirected graph that ties each point to its `count` nearest others.

    Squared distances of integer points are exact, and of points equally far the one with the smaller id is nearer, so
    the graph is the same on every machine.

    Arguments:
        points: integer coordinates, `[N, D]`.
        count: neighbours per point, below N; in the result a point has more where others chose it.
    """
    rows = len(points)
    square = (points**2).sum(1)
    # The products are computed in float64, which is exact below 2^53 and has a fast product.
    product = points.astype(np.float64) @ points.T.astype(np.float64)
    distance = square[:, None] + square[None, :] - 2 * product.astype(np.int64)
    rank = distance * rows + np.arange(rows)
    np.fill_diagonal(rank, np.iinfo(np.int64).max)
    target = np.argpartition(rank, count - 1, axis=1)[:, :count]
    source = np.repeat(np.arange(rows), count)
    chosen = sparse.csr_array((np.ones(rows * count, np.float32), (source, target.ravel())), shape=(rows, rows))
    return undirected(chosen)
