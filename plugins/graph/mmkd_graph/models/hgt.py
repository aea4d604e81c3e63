"""`graph/hgt`: the heterogeneous graph transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mmkd.data.fields import Field, OutputSpec
from mmkd_graph.models.typed import ByType, Types, check_heads, one_output
from mmkd_graph.pyg import HGTConv


class HGT(nn.Module):
    """Attention along every type of edge with weights of its own, from all nodes to all nodes.

    Hu et al. 2020, Heterogeneous Graph Transformer, arXiv 2003.01332, with PyTorch Geometric's `HGTConv` (no relative
    time encoding): a linear map and ReLU per type of node, `layers` convolutions, a linear map on the rows.

    `forward(x_dict {type: [nodes, F]}, edge_index_dict {(source, name, target): [2, E]})` gives logits `[N, K]`.

    Taps: `penultimate`, the rows' last embedding `[N, C]`; `types` `[N, 1 + T, C]`, that embedding and the mean of the
        last
    embeddings of a row's neighbours of each type (see `mmkd_graph.models.typed.ByType`).

    Arguments:
        hidden: channels.
        heads: attention heads that share them.
        layers: convolutions.
        dropout: probability, on the first embeddings and on what each convolution gives.
    """

    taps = {"penultimate": "row", "types": "by_type"}  # noqa: RUF012
    layouts = {"penultimate": "nodes", "types": "tokens"}  # noqa: RUF012

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: PositiveInt = 64,
        heads: PositiveInt = 2,
        layers: PositiveInt = 1,
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        check_heads(hidden, heads, "graph/hgt")
        types = Types.of(inputs, "graph/hgt")
        self.target = types.target
        self.first = nn.ModuleDict({name: nn.Linear(width, hidden) for name, width in types.widths.items()})
        metadata = (list(types.widths), list(types.edges))
        self.convolutions = nn.ModuleList(HGTConv(hidden, hidden, metadata, heads) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.row = nn.Identity()
        self.by_type = ByType(types.target, types.edges)
        self.last = nn.Linear(hidden, one_output(outputs, "graph/hgt"))

    def forward(self, x_dict: Mapping[str, Tensor], edge_index_dict: Mapping[Any, Tensor]) -> Float[Tensor, "N K"]:
        h = {name: self.dropout(layer(x_dict[name]).relu()) for name, layer in self.first.items()}
        for convolution in self.convolutions:
            # A type that no edge leads to keeps what it was.
            said = convolution(h, edge_index_dict)
            h = {name: value if said.get(name) is None else self.dropout(said[name]) for name, value in h.items()}
        self.by_type(h, edge_index_dict)
        return self.last(self.row(h[self.target]))
