"""`graph/gat`: graph attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import pydantic
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd_graph.models.layers import widths


class GAT(nn.Module):
    """Velickovic et al. 2018, arXiv 1710.10903, by torch-geometric's GATConv: ELU between layers, heads concatenated.

    As there, dropout is on the input of every layer and on the attention coefficients, and the last layer averages its
    heads (here it has one). The paper's Cora setting: hidden 64 (8 heads of 8), dropout 0.6.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of the hidden layers, all heads together.
        heads: of the hidden layers; they must divide `hidden`.
        layers: attention layers, at least 2.
        dropout: probability, on inputs, hidden layers and attention.

    Raises:
        ConfigError: the heads do not divide the channels.
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
        heads: PositiveInt = 8,
        layers: Annotated[int, pydantic.Field(ge=2)] = 2,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.6,
    ) -> None:
        from torch_geometric.nn import GATConv

        super().__init__()
        if hidden % heads:
            raise ConfigError(f"graph/gat: {heads} heads do not divide hidden = {hidden}")
        features, *_, classes = widths(inputs, outputs, hidden, layers, "graph/gat")
        self.convolutions = nn.ModuleList(
            GATConv(hidden if layer else features, hidden // heads, heads, dropout=dropout)
            for layer in range(layers - 1)
        )
        self.last = GATConv(hidden, classes, dropout=dropout)
        self.penultimate = nn.Identity()  # a place for the tap, before dropout
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N K"]:
        for convolution in self.convolutions:
            x = F.elu(convolution(self.dropout(x), edge_index))
        return self.last(self.dropout(self.penultimate(x)), edge_index)
