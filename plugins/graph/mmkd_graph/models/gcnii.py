"""`graph/gcnii`: a graph convolutional network that stays trainable when it is deep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import pydantic
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data import Field, OutputSpec
from mmkd_graph.models.layers import widths
from mmkd_graph.propagation import propagate, symmetric


class GCNII(nn.Module):
    """Chen et al. 2020, arXiv 2007.02133, eq. 5: initial residual and identity mapping.

    `H' = ReLU(S ((1 - b) I + b W))` with `S = (1 - a) P H + a H_0`, `b = log(lambda / l + 1)` in layer l, P symmetric
    with self loops. A linear map stands before and after. The paper's Cora setting: 64 layers, hidden 64, a 0.1,
    lambda 0.5, dropout 0.6.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of all hidden layers.
        layers: graph convolutions.
        dropout: probability, on the input and on hidden layers.
        initial: a, the share of the first hidden layer that each one keeps.
        decay: lambda; the greater, the more a layer may differ from the identity.
    """

    taps: ClassVar[dict[str, str]] = {"penultimate": "penultimate"}
    layouts: ClassVar[dict[str, str]] = {"penultimate": "nodes"}

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: PositiveInt = 64,
        layers: PositiveInt = 16,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.6,
        initial: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1,
        decay: pydantic.PositiveFloat = 0.5,
    ) -> None:
        super().__init__()
        features, *_, classes = widths(inputs, outputs, hidden, 2, "graph/gcnii")
        self.first, self.last = nn.Linear(features, hidden), nn.Linear(hidden, classes)
        self.convolutions = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(layers))
        self.shares = [math.log(decay / layer + 1) for layer in range(1, layers + 1)]
        self.penultimate = nn.Identity()  # a place for the tap, before dropout
        self.dropout = nn.Dropout(dropout)
        self.initial = initial

    def forward(self, x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N K"]:
        h = start = F.relu(self.first(self.dropout(x)))
        for share, convolution in zip(self.shares, self.convolutions, strict=True):
            mixed = (1 - self.initial) * propagate(self.dropout(h), edge_index, symmetric) + self.initial * start
            h = F.relu((1 - share) * mixed + share * convolution(mixed))
        return self.last(self.dropout(self.penultimate(h)))
