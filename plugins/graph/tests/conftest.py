"""Small graphs for every test."""

import numpy as np
import pytest
import torch
from scipy import sparse


@pytest.fixture
def edge_index():
    """An undirected graph of 7 nodes: a triangle 0 1 2, a path 2 3 4, a pair 4 5, and node 6 alone."""
    pairs = torch.tensor([[0, 0, 1, 2, 3, 4], [1, 2, 2, 3, 4, 5]])
    return torch.cat([pairs, pairs.flip(0)], 1)


@pytest.fixture
def npz(tmp_path):
    """A function that writes a graph file: two groups of nodes, the larger with 8 of each of 3 classes."""

    def write(name="graph.npz", **changed):
        random = np.random.default_rng(0)
        ring = np.arange(24)
        rows = np.concatenate([ring, ring, [24, 25, 3, 0]])
        columns = np.concatenate([(ring + 1) % 24, (ring + 5) % 24, [25, 26, 3, 1]])
        adjacency = sparse.csr_array((np.full(len(rows), 2.0, np.float32), (rows, columns)), shape=(27, 27))
        features = sparse.csr_array(random.integers(0, 3, (27, 6)).astype(np.float32))
        arrays = {
            f"{key}_{part}": getattr(matrix, part)
            for key, matrix in (("adj", adjacency), ("attr", features))
            for part in ("data", "indices", "indptr", "shape")
        }
        arrays |= {"labels": np.append(ring % 3, [3, 3, 3]), "class_names": np.array(["a", "b", "c", "d"])}
        arrays = {key: value for key, value in (arrays | changed).items() if value is not None}
        np.savez_compressed(tmp_path / name, **arrays)
        return tmp_path / name

    return write
