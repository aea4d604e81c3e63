"""`graph/gcn`: the graph convolutional network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pydantic
from pydantic import PositiveInt

from mmkd.data import Field, OutputSpec
from mmkd_graph.models.layers import GraphNetwork, widths
from mmkd_graph.propagation import symmetric


class GCN(GraphNetwork):
    """Kipf and Welling 2017, arXiv 1609.02907: each layer sums over neighbours and self with symmetric weights.

    As there, dropout precedes every layer, the first included, and weights are Xavier-uniform. The paper's Cora setting
    is hidden 16, dropout 0.5.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of the hidden layers.
        layers: graph convolutions, the last one included.
        dropout: probability, on the input and on hidden layers.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: PositiveInt = 128,
        layers: PositiveInt = 2,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        sizes = widths(inputs, outputs, hidden, layers, "graph/gcn")
        super().__init__(sizes, symmetric, gain=1.0, dropout=dropout, input_dropout=dropout)
