"""What a graph network has to fetch before it can say anything of a few nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from mmkd_graph.blocks import Adjacency


@dataclass(frozen=True)
class Neighbourhood:
    """The part of a graph that the answer about some nodes depends on.

    Arguments:
        nodes: global ids, `[M]`; the nodes asked about come first, in their order.
        edge_index: `[2, E]`, positions in `nodes`: (source, target).
    """

    nodes: Int[Tensor, " M"]
    edge_index: Int[Tensor, "2 E"]


class Fetcher:
    """Collects neighbourhoods, hop by hop.

    A mean over neighbours is exact with all of them; symmetric weights are not, since nodes at the rim lack edges.

    Arguments:
        graph: the graph.
        hops: depth, as many as the network has layers.
        fan_out: largest number of neighbours that are taken of a node, one of each of so many equal parts of its list;
            None: all.
        seed: of the draws.
    """

    def __init__(self, graph: Adjacency, hops: int, fan_out: int | None = None, seed: int = 0) -> None:
        self.graph, self.hops, self.fan_out = graph, hops, fan_out
        self.random = np.random.default_rng(seed)
        self._place = np.full(len(graph), -1, dtype=np.int64)  # kept, so that a call costs what it touches

    def __call__(self, nodes: NDArray[np.int64]) -> Neighbourhood:
        """The neighbourhood of distinct `nodes`, `[B]`."""
        place, found = self._place, [nodes]
        place[nodes] = np.arange(len(nodes))
        count, newest = len(nodes), nodes
        sources, targets = [], []
        for _ in range(self.hops):
            heard, degree = self._neighbours(newest)
            fresh = np.unique(heard[place[heard] < 0])
            place[fresh] = np.arange(count, count + len(fresh))
            sources.append(place[heard])
            targets.append(np.repeat(place[newest], degree))
            found.append(fresh)
            count, newest = count + len(fresh), fresh
        every = np.concatenate(found)
        place[every] = -1
        edges = np.stack([np.concatenate(sources), np.concatenate(targets)])
        return Neighbourhood(torch.from_numpy(every), torch.from_numpy(edges))

    def _neighbours(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Neighbours node after node, and how many each has."""
        first = self.graph.start[nodes]
        degree = self.graph.start[nodes + 1] - first
        taken = degree if self.fan_out is None else np.minimum(degree, self.fan_out)
        rank = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        if self.fan_out is not None:
            share = np.repeat(degree / np.maximum(taken, 1), taken)
            jitter = np.where(share > 1, self.random.random(len(rank)), 0.0)
            rank = ((rank + jitter) * share).astype(np.int64)
        return self.graph.neighbour[np.repeat(first, taken) + rank].astype(np.int64), taken
