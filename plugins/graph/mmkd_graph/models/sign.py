"""`graph/sign`: an MLP over features that were summed along the graph once, before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import pydantic
import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd_graph.models.layers import widths
from mmkd_graph.propagation import propagate, symmetric


class SIGN(nn.Module):
    """Frasca et al. 2020, arXiv 2004.11198, eqs. 3-4: a linear map per hop of [X, P X, ..., P^h X], ReLU, an MLP.

    P is symmetric with self loops. The hops hold no parameters, so no gradient goes through P.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of each hop's map, and of the hidden layer.
        hops: h; 0 is an MLP.
        dropout: probability, on hidden layers.
    """

    taps: ClassVar[dict[str, str]] = {"penultimate": "classify.1"}
    layouts: ClassVar[dict[str, str]] = {"penultimate": "nodes"}

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: PositiveInt = 128,
        hops: pydantic.NonNegativeInt = 2,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__()
        features, _, classes = widths(inputs, outputs, hidden, 2, "graph/sign")
        self.maps = nn.ModuleList(nn.Linear(features, hidden) for _ in range(hops + 1))
        joined = (hops + 1) * hidden
        self.mix = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
        self.classify = nn.Sequential(
            nn.Linear(joined, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )

    def forward(self, x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N K"]:
        hops = hops_of(x, edge_index, len(self.maps) - 1)
        return self.classify(self.mix(torch.cat([layer(hop) for layer, hop in zip(self.maps, hops, strict=True)], 1)))


def hops_of(x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"], count: int) -> list[Float[Tensor, "N F"]]:
    """`[x, P x, ..., P^count x]` with symmetric P."""
    hops = [x]
    for _ in range(count):
        hops.append(propagate(hops[-1], edge_index, symmetric))
    return hops
