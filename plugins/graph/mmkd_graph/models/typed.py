"""What the models of typed graphs share: what they need to know of the graph, and neighbours averaged by type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError

EdgeType = tuple[str, str, str]


@dataclass(frozen=True)
class Types:
    """Types of nodes and edges, measured on a data set.

    Arguments:
        widths: number of features by type of node.
        edges: types of edges.
        target: the type whose nodes are the rows.
    """

    widths: Mapping[str, int]
    edges: tuple[EdgeType, ...]
    target: str

    @classmethod
    def of(cls, inputs: Mapping[str, Field], owner: str) -> Types:
        """Read them from the declared parts of `x_dict` and `edge_index_dict`. Raises `ConfigError` where they lack."""
        nodes, ties = (inputs[name].parts if name in inputs else None for name in ("x_dict", "edge_index_dict"))
        if not nodes or not ties:
            raise ConfigError(
                f"{owner} needs the relations x_dict and edge_index_dict with declared parts",
                "take a data set of a typed graph, such as graph/typed-blocks",
            )
        rows = [name for name, part in nodes.items() if part.kind == "sample"]
        if len(rows) != 1:
            raise ConfigError(f"{owner}: x_dict declares {len(rows)} types whose nodes are the rows, not one")
        return cls({name: int(part.shape[0] or 0) for name, part in nodes.items()}, tuple(ties), rows[0])


class ByType(nn.Module):
    """What a row's neighbours of each type are on average, and the row itself.

    `forward(h {type: [nodes, C]}, edges)` gives `[N, T, C]`: first the row's own embedding, then for each type that has
    edges to the rows, in the order of `types`, the mean over its neighbours of that type, 0 where it has none.

    Arguments:
        target: the type of the rows.
        edges: types of edges.
    """

    def __init__(self, target: str, edges: tuple[EdgeType, ...]) -> None:
        super().__init__()
        self.target = target
        self.into = {
            source: [key for key in edges if key[0] == source and key[2] == target]
            for source in dict.fromkeys(key[0] for key in edges if key[2] == target)
        }
        self.types = tuple(self.into)

    def forward(self, h: Mapping[str, Tensor], edges: Mapping[Any, Tensor]) -> Float[Tensor, "N T C"]:
        own = h[self.target]
        tokens = [own]
        for source, keys in self.into.items():
            start, end = torch.cat([edges[key] for key in keys], 1)
            total = torch.zeros_like(own).index_add(0, end, h[source][start])
            count = torch.zeros(len(own), device=own.device, dtype=own.dtype).index_add(0, end, own.new_ones(len(end)))
            tokens.append(total / count.clamp(min=1)[:, None])
        return torch.stack(tokens, 1)


def one_output(outputs: OutputSpec, owner: str) -> int:
    """The number of classes, of the one output `logits`. Raises `ConfigError` for others."""
    if list(outputs) != ["logits"] or len(outputs["logits"]) != 1 or outputs["logits"][0] is None:
        raise ConfigError(f"{owner} gives one output, logits [classes], and the task wants {dict(outputs)}")
    return int(outputs["logits"][0])


def check_heads(hidden: int, heads: int, owner: str) -> None:
    if hidden % heads:
        raise ConfigError(f"{owner}: hidden = {hidden} is no multiple of heads = {heads}")
