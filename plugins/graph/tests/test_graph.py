import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from mmkd_graph.graph import Graph, nearest_neighbours, simple, standardise, undirected


def graph(edges, nodes, labels=None, classes=("a", "b", "c")):
    row, column = np.array(edges).T
    adjacency = sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=(nodes, nodes))
    features = np.arange(nodes, dtype=np.float32)[:, None]
    return Graph(features, adjacency, np.zeros(nodes, np.int64) if labels is None else np.array(labels), classes)


def pairs(adjacency):
    return set(zip(*(part.tolist() for part in adjacency.nonzero()), strict=True))


def test_undirected():
    """Directions, weights, repeats, loops and stored zeros vanish."""
    given = sparse.csr_array(([3.0, 1.0, 0.0, 2.0, 5.0, -1.0], ([0, 1, 2, 2, 3, 3], [1, 0, 0, 2, 1, 0])), shape=(4, 4))
    result = undirected(given)
    assert pairs(result) == {(0, 1), (1, 0), (1, 3), (3, 1), (0, 3), (3, 0)}
    assert set(result.data.tolist()) == {1.0}
    assert result.shape == (4, 4)


def test_undirected_without_edges():
    assert undirected(sparse.csr_array((3, 3), dtype=np.float32)).nnz == 0


def test_edge_index_is_sorted():
    given = simple(graph([(2, 0), (0, 1), (1, 2), (3, 3)], 4))
    assert given.edge_index().tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert given.edge_index().dtype == torch.int64


def test_standardise():
    """The largest component keeps the order and the features of its nodes; a class without nodes goes."""
    given = graph([(1, 4), (4, 2), (2, 2), (0, 3), (4, 6)], 7, labels=[1, 0, 2, 1, 2, 1, 0])
    result = standardise(given)
    assert result.features.ravel().tolist() == [1, 2, 4, 6]
    assert pairs(result.adjacency) == {(0, 2), (2, 0), (2, 1), (1, 2), (2, 3), (3, 2)}
    assert result.classes == ("a", "c")
    assert result.labels.tolist() == [0, 1, 1, 0]
    assert result.labels.dtype == np.int64


def test_direction_does_not_break_a_component():
    assert len(standardise(graph([(1, 0), (1, 2), (3, 2)], 5)).labels) == 4


@pytest.mark.parametrize("count", [1, 4])
def test_nearest_neighbours_against_sklearn(count):
    points = np.random.default_rng(0).integers(0, 1000, (60, 5))
    distance, chosen = NearestNeighbors(n_neighbors=count).fit(points).kneighbors()
    expected = {(i, int(j)) for i, row in enumerate(chosen) for j in row}
    assert pairs(nearest_neighbours(points, count)) == expected | {(j, i) for i, j in expected}
    assert np.unique(distance).size > count  # few ties, so that the two agree


def test_equally_far_points():
    """Points 0..4 in one place and 5 beside them: the smaller id is nearer, and nobody is his own neighbour."""
    points = np.array([[0], [0], [0], [0], [0], [1]])
    expected = {(0, 1), (0, 2), (1, 2), (3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1)}
    assert pairs(nearest_neighbours(points, 2)) == expected | {(j, i) for i, j in expected}


def test_every_neighbour():
    assert nearest_neighbours(np.arange(5)[:, None], 4).nnz == 20
