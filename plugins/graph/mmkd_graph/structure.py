"""Inputs made of a node's edges: a student that reads them needs the edges of a new node at inference.

Both are functions of the graph that training may see; what is hidden from it gets its value from its edges afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from mmkd.errors import ConfigError
from mmkd_graph.propagation import propagate, symmetric

WINDOW = 5
LARGEST = 40_000  # nodes: their matrix takes 6.4 GB
_BLOCK = 1024


def position_features(
    edge_index: Int[Tensor, "2 E"], nodes: int, size: int, hidden: Int[Tensor, " H"]
) -> Float[Tensor, "N P"]:
    """Where each node stands in the graph: NetMF without the hidden nodes; a hidden one gets the mean of its visible
    neighbours' features, 0 without any.

    So does NOSMOG (Tian et al. 2023, arXiv 2208.10010, section 4.1), with DeepWalk, whose skip-gram objective NetMF
    solves in closed form.

    Arguments:
        edge_index: of all nodes.
        nodes: how many there are.
        size: P.
        hidden: ids of the nodes that training does not see.

    Raises:
        ConfigError: P is not smaller than the number of visible nodes, or these are too many.
    """
    ones = np.ones(edge_index.shape[1], np.float32)
    adjacency = sparse.csr_array((ones, edge_index.cpu().numpy()[::-1]), shape=(nodes, nodes))
    unseen = hidden.cpu().numpy()
    seen = np.setdiff1d(np.arange(nodes), unseen)
    features = np.zeros((nodes, size), np.float32)
    features[seen] = netmf(adjacency[seen][:, seen], size)
    near = adjacency[unseen][:, seen]
    features[unseen] = near @ features[seen] / np.maximum(near.sum(1), 1)[:, None]
    return torch.from_numpy(features)


def netmf(adjacency: sparse.csr_array, size: int, window: int = WINDOW) -> NDArray[np.float32]:
    """Network embedding as matrix factorisation: `U sqrt(S)` of the truncated SVD of `log max(1, M)`.

    `M = vol / window * (sum over r = 1 ... window of P^r) D^-1`, P the transition matrix `D^-1 A`, vol the sum of
    degrees: Qiu et al. 2018, arXiv 1710.02971, algorithm 3 with one negative sample. M is symmetric; it is made dense,
    some rows at a time. A node without edges gets 0.

    Arguments:
        adjacency: symmetric, `[N, N]`.
        size: columns of the result.
        window: longest walk between two nodes that counts.

    Returns:
        `[N, size]`; columns by falling singular value, the same on every call.

    Raises:
        ConfigError: `size` is not below N, or N is above `LARGEST`.
    """
    nodes = adjacency.shape[0]
    if size >= nodes:
        raise ConfigError(f"positions = {size}: the graph has but {nodes} visible nodes")
    if nodes > LARGEST:
        raise ConfigError(
            f"position features of {nodes} nodes need a dense matrix of {nodes**2 * 4 / 1e9:.0f} GB",
            f"they are made for at most {LARGEST} nodes: leave `positions` at 0",
        )
    degree = np.asarray(adjacency.sum(1), np.float32)
    inverse = np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)
    onward = sparse.diags_array(inverse) @ adjacency
    logarithm = np.empty((nodes, nodes), np.float32)
    for start in range(0, nodes, _BLOCK):
        # Columns of M, which are its rows too: the powers of P times those of D^-1.
        rows = slice(start, min(start + _BLOCK, nodes))
        walks = np.zeros((nodes, rows.stop - start), np.float32)
        np.fill_diagonal(walks[rows], inverse[rows])
        total = np.zeros_like(walks)
        for _ in range(window):
            walks = onward @ walks
            total += walks
        logarithm[rows] = np.log(np.maximum(total * (degree.sum() / window), 1)).T
    left, values, _ = randomized_svd(logarithm, size, random_state=0)
    return np.ascontiguousarray(left * np.sqrt(values), np.float32)


def smoothed_features(
    x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"], hops: int, hidden: Int[Tensor, " H"]
) -> Float[Tensor, "N F"]:
    """Mean of `x, S x, ..., S^hops x`, S the symmetrically normalised adjacency with self loops.

    Visible nodes sum over visible ones, hidden ones over all: InfGraND (Eskandari et al. 2026, arXiv 2601.08033, eqs. 5
    and 7), as in its code.

    Arguments:
        x: features of all nodes.
        edge_index: of all nodes.
        hops: how far to look.
        hidden: ids of the nodes that training does not see.
    """

    def mean(edges: Int[Tensor, "2 E"]) -> Float[Tensor, "N F"]:
        total = step = x
        for _ in range(hops):
            step = propagate(step, edges, symmetric)
            total = total + step
        return total / (hops + 1)

    if not len(hidden):
        return mean(edge_index)
    unseen = torch.zeros(len(x), dtype=torch.bool, device=x.device).index_fill(0, hidden.to(x.device), True)
    visible = mean(edge_index[:, ~unseen[edge_index].any(0)])
    return torch.where(unseen[:, None], mean(edge_index), visible)
