"""`graph/sage`: GraphSAGE as GLNN trains it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import pydantic
from pydantic import PositiveInt
from torch import nn

from mmkd.data import Field, OutputSpec
from mmkd_graph.models.layers import GraphNetwork, widths
from mmkd_graph.propagation import mean_of_both, mean_of_drawn


class SAGE(GraphNetwork):
    """GraphSAGE with the `gcn` aggregator on a graph with self loops, so a node counts twice in its own mean.

    Hamilton et al. 2017, arXiv 1706.02216, in the form that GLNN (Zhang et al. 2022, arXiv 2110.08727) takes from DGL:
    ReLU and dropout between layers, Xavier-uniform weights with ReLU's gain.

    `forward(x [N, F], edge_index [2, E])` gives logits `[N, K]`; the tap `penultimate` is the last hidden layer.

    Arguments:
        hidden: channels of the hidden layers.
        layers: graph convolutions, the last one included.
        dropout: probability, on hidden layers only.
        fan_out: neighbours that each layer draws of every node at a training step (GLNN: 5); None takes all, as
            evaluation always does.
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
        fan_out: PositiveInt | None = None,
    ) -> None:
        sizes = widths(inputs, outputs, hidden, layers, "graph/sage")
        drawn = partial(mean_of_drawn, fan_out=fan_out) if fan_out else None
        super().__init__(sizes, mean_of_both, gain=nn.init.calculate_gain("relu"), dropout=dropout, drawn=drawn)
