"""`graph/han`: the heterogeneous graph attention network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd_graph.models.typed import check_heads, one_output
from mmkd_graph.pyg import HANConv


class HAN(nn.Module):
    """Attention among the neighbours of each metapath, then among the metapaths; it reads the rows' features alone.

    Wang et al. 2019, Heterogeneous Graph Attention Network, arXiv 1903.07293, with PyTorch Geometric's `HANConv` and a
    linear map on top.

    `forward(x [N, F], metapath_dict {(type, metapath, type): [2, E]})` gives logits `[N, K]`; the tap `penultimate` is
    the rows' embedding `[N, C]`.

    Arguments:
        hidden: channels.
        heads: attention heads that share them.
        dropout: probability, on attention and on the rows' embedding.
    """

    taps = {"penultimate": "row"}  # noqa: RUF012
    layouts = {"penultimate": "nodes"}  # noqa: RUF012

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: PositiveInt = 64,
        heads: PositiveInt = 8,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.6,
    ) -> None:
        super().__init__()
        check_heads(hidden, heads, "graph/han")
        metapaths = inputs["metapath_dict"].parts if "metapath_dict" in inputs else None
        if not metapaths:
            raise ConfigError("graph/han reads metapath_dict, and the data set declares no metapath in it")
        self.target = next(iter(metapaths))[0]
        width = int(inputs["x"].shape[0] or 0)
        metadata = ([self.target], list(metapaths))
        self.convolution = HANConv({self.target: width}, hidden, metadata, heads=heads, dropout=dropout)
        self.row = nn.Dropout(dropout)
        self.last = nn.Linear(hidden, one_output(outputs, "graph/han"))

    def forward(self, x: Float[Tensor, "N F"], metapath_dict: Mapping[Any, Tensor]) -> Float[Tensor, "N K"]:
        return self.last(self.row(self.convolution({self.target: x}, metapath_dict)[self.target]))
