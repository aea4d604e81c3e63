"""`graph/sign`: an MLP over features that were summed along the graph once, before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import pydantic
import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd_graph.models.layers import widths
from mmkd_graph.propagation import propagate, symmetric


class _Hops(nn.Module):
    """A linear map per hop, ReLU, an MLP: Frasca et al. 2020, arXiv 2004.11198, eqs. 3-4."""

    taps: ClassVar[dict[str, str]] = {"penultimate": "classify.1"}

    def __init__(self, features: int, hops: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(features, hidden) for _ in range(hops + 1))
        self.mix = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
        self.classify = nn.Sequential(
            nn.Linear((hops + 1) * hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )

    def judge(self, hops: Sequence[Float[Tensor, "N F"]]) -> Float[Tensor, "N K"]:
        return self.classify(self.mix(torch.cat([layer(hop) for layer, hop in zip(self.maps, hops, strict=True)], 1)))


class SIGN(_Hops):
    """SIGN on [X, P X, ..., P^h X], P symmetric with self loops. The hops hold no parameters, so no gradient goes
    through P.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of each hop's map, and of the hidden layer.
        hops: h; 0 is an MLP.
        dropout: probability, on hidden layers.
    """

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
        features, _, classes = widths(inputs, outputs, hidden, 2, "graph/sign")
        super().__init__(features, hops, hidden, classes, dropout)

    def forward(self, x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N K"]:
        return self.judge(hops_of(x, edge_index, len(self.maps) - 1))


class SIGNHops(_Hops):
    """SIGN on hops that the data set holds, so that it runs on batches and never on a whole graph.

    `forward(hops [B, h + 1, F])` gives logits `[B, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of each hop's map, and of the hidden layer.
        dropout: probability, on hidden layers.

    Raises:
        ConfigError: the field is no row of hops per node.
    """

    layouts: ClassVar[dict[str, str]] = {"penultimate": "vector"}

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: PositiveInt = 128,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        hops, *channels = inputs["hops"].shape
        if hops is None or len(channels) != 1:
            raise ConfigError(
                f"graph/sign-hops reads `hops` as [hops, features] per node, not as {inputs['hops'].shape}"
            )
        features, _, classes = widths({"x": Field(tuple(channels))}, outputs, hidden, 2, "graph/sign-hops")
        super().__init__(features, hops - 1, hidden, classes, dropout)

    def forward(self, hops: Float[Tensor, "B H F"]) -> Float[Tensor, "B K"]:
        return self.judge(hops.unbind(1))


def hops_of(x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"], count: int) -> list[Float[Tensor, "N F"]]:
    """`[x, P x, ..., P^count x]` with symmetric P."""
    hops = [x]
    for _ in range(count):
        hops.append(propagate(hops[-1], edge_index, symmetric))
    return hops
