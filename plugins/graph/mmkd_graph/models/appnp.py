"""`graph/appnp`: predict each node, then propagate the predictions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar

import pydantic
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data import Field, OutputSpec
from mmkd_graph.models.layers import widths
from mmkd_graph.propagation import propagate, symmetric


class APPNP(nn.Module):
    """Gasteiger et al. 2019, arXiv 1810.05997, eq. 4: an MLP's logits H, then `steps` times Z = (1 - a) P Z + a H.

    P is symmetric with self loops. Dropout precedes every layer of the MLP; the paper drops edges too, here none is
    dropped, so P is built once. The paper's citation setting: hidden 64, dropout 0.5, 10 steps, teleport 0.1.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the MLP's last hidden layer.

    Arguments:
        hidden: channels of the hidden layers.
        layers: of the MLP, the last one included.
        dropout: probability, on the input and on hidden layers.
        steps: of propagation.
        teleport: a, how much of its own prediction a node keeps in each step.
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
        layers: PositiveInt = 2,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5,
        steps: PositiveInt = 10,
        teleport: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.1,
    ) -> None:
        super().__init__()
        sizes = widths(inputs, outputs, hidden, layers, "graph/appnp")
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.penultimate = nn.Identity()  # a place for the tap, before dropout
        self.dropout = nn.Dropout(dropout)
        self.steps, self.teleport = steps, teleport

    def forward(self, x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N K"]:
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(self.dropout(x)))
        own = last(self.dropout(self.penultimate(x)))
        z = own
        for _ in range(self.steps):
            z = (1 - self.teleport) * propagate(z, edge_index, symmetric) + self.teleport * own
        return z
