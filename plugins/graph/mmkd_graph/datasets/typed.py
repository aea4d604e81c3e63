"""What the data sets of typed graphs share: rows are the nodes to be classified, the other types stand in relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mmkd.data import Dataset, Field, Split
from mmkd_graph.drawing import short, star
from mmkd_graph.splits import Rows, Setting, in_setting
from mmkd_graph.typed import TypedGraph, paths

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

METAPATH_NEIGHBOURS = 32


class TypedData(Dataset):
    """The nodes of one type in a graph of several types, to be classified.

    Fields: `x` `[N, F]`, features of the nodes that are classified, one row per node; `label`; and three relations:
    `x_dict`, features by type of node (those of `x` among them); `edge_index_dict`, `[2, E]` (source, target) by type
    of edge, each counted within its type; `metapath_dict`, `[2, E]` by `(target, metapath, target)`: pairs of rows.

    Subclasses give `parts`, and `files` where they are read from disk.

    Arguments:
        graph: the graph.
        setting: `transductive`, `inductive` or `production`, see `mmkd_graph.splits.in_setting`.
        metapaths: types passed on the way from row to row, e.g. `{"pap": ["author"]}`.
        derived: types whose features say of which words, tags ... a node's rows have any: the largest value over the
            rows tied to it. Where rows are hidden, they are made anew of those that are seen.
        legal: smallest and largest legal value of `x`, where known.
    """

    def __init__(
        self,
        graph: TypedGraph,
        *,
        setting: Setting,
        metapaths: Mapping[str, Sequence[str]],
        derived: Sequence[str] = (),
        legal: tuple[float, float] | None = None,
    ) -> None:
        self.graph, self.setting, self.derived = graph, setting, tuple(derived)
        x = {name: torch.from_numpy(value) for name, value in graph.features.items()}
        edges = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in graph.edges.items()}
        pairs = {
            (graph.target, name, graph.target): torch.from_numpy(paths(graph, between, METAPATH_NEIGHBOURS))
            for name, between in metapaths.items()
        }
        tied = Field((2, None), "int64", "edges", kind="relation")
        of_type = {
            name: Field((value.shape[1],), kind="sample" if name == graph.target else "relation")
            for name, value in x.items()
        }
        fields = {
            "x": Field((x[graph.target].shape[1],), layout="vector", range=legal),
            "x_dict": Field(kind="relation", parts=of_type),
            "edge_index_dict": Field(dtype="int64", kind="relation", parts=dict.fromkeys(edges, tied)),
            "metapath_dict": Field(dtype="int64", kind="relation", parts=dict.fromkeys(pairs, tied)),
            "label": Field((), "int64", target=True, classes=graph.classes),
        }
        super().__init__(
            fields,
            {"x": x[graph.target], "label": torch.from_numpy(graph.labels)},
            relations={"x_dict": x, "edge_index_dict": edges, "metapath_dict": pairs},
            unit="node",
            single_graph=True,
        )

    def draw(self, row: int, figure: FigureBase) -> str:
        """The node and what it is tied to; inside a tied node its class, or the class of most rows tied to that."""
        target, labels, names = self.graph.target, self.graph.labels, self.graph.classes
        ties = []
        for (source, kind, end), pairs in self.graph.edges.items():
            if source != target:
                continue
            for node in pairs[1][pairs[0] == row]:
                if end == target:
                    told = labels[[int(node)]]
                else:
                    rows = pairs[0][pairs[1] == node]
                    told = labels[rows[rows != row]]
                told = told[told >= 0]
                text = short(names[int(np.bincount(told).argmax())]) if len(told) else ""
                ties.append((kind.replace("_", " ") if end == target else end, text))
        star(figure.subplots(), ties)
        return f"a {target} and what it is tied to, with classes"

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        """Ids to train, select and test on."""
        raise NotImplementedError

    def split(self, seed: int) -> Split:
        return in_setting(self.setting, *self.parts(seed), len(self), seed)

    def cut(self, hidden: Tensor) -> dict[str, Any]:
        """Relations without the hidden rows: their features are zero, every edge and metapath that touches one is gone,
        and features derived from rows are made of those that are seen. Other types keep all of their nodes."""
        if not len(hidden):
            return self.relations
        target = self.graph.target
        seen = torch.ones(len(self), dtype=torch.bool, device=hidden.device)
        seen[hidden] = False
        x = dict(self.relations["x_dict"])
        x[target] = x[target] * seen.to(x[target].device)[:, None]
        for name in self.derived:
            x[name] = _largest_of_rows(self.graph, name, x[target])
        return {
            "x_dict": x,
            "edge_index_dict": _between_seen(self.relations["edge_index_dict"], target, seen),
            "metapath_dict": _between_seen(self.relations["metapath_dict"], target, seen),
        }


def _between_seen(edges: Mapping[Any, Tensor], target: str, seen: Tensor) -> dict[Any, Tensor]:
    """The edges whose ends of the target type are seen."""
    kept = {}
    for (source, name, end), pairs in edges.items():
        keep = torch.ones(pairs.shape[1], dtype=torch.bool, device=pairs.device)
        for kind, ids in zip((source, end), pairs, strict=True):
            if kind == target:
                keep &= seen.to(pairs.device)[ids]
        kept[source, name, end] = pairs[:, keep]
    return kept


def is_derived(graph: TypedGraph, name: str) -> bool:
    """Whether each node of a type has, in each feature, the largest value of the target nodes tied to it."""
    rows = torch.from_numpy(graph.features[graph.target])
    value = torch.from_numpy(graph.features[name])
    tied = any({source, end} == {name, graph.target} for source, _, end in graph.edges)
    return tied and value.shape[1] == rows.shape[1] and torch.equal(value, _largest_of_rows(graph, name, rows))


def _largest_of_rows(graph: TypedGraph, name: str, rows: Tensor) -> Tensor:
    """For each node of a type the largest value of the rows tied to it, `[nodes, F]`; 0 where there is none."""
    largest = torch.zeros(len(graph.features[name]), rows.shape[1], device=rows.device)
    for (source, _, end), pairs in graph.edges.items():
        if {source, end} == {name, graph.target}:
            row, node = torch.from_numpy(np.ascontiguousarray(pairs if source == graph.target else pairs[::-1]))
            index = node.to(rows.device)[:, None].expand(-1, rows.shape[1])
            largest = largest.scatter_reduce(0, index, rows[row.to(rows.device)], "amax")
    return largest
