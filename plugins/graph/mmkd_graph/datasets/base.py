"""What the graph data sets share: nodes as rows, one relation, a label, and the three settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmkd.data import Dataset, Field, Split
from mmkd_graph.drawing import short, star
from mmkd_graph.graph import Graph
from mmkd_graph.splits import Rows, Setting, in_setting
from mmkd_graph.structure import position_features, smoothed_features

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase


class NodeData(Dataset):
    """The nodes of one graph, to be classified.

    Fields: `x` `[N, F]`, one row per node; `edge_index` `[2, E]`, (source, target) of every edge in both directions, no
    self loops; `label`. A node whose class nobody knows (label -1) is seen through its edges and is in no part.

    On request two more that a model without `edge_index` can read, and that need a new node's edges nevertheless:
    `position` `[N, positions]`, where it stands in the graph, and `smoothed` `[N, F]`, the mean of its own features and
    those some hops around (`mmkd_graph.structure`). In the production setting each split makes them of what it shows.

    Subclasses give `parts`, and `files` where they are read from disk.

    Arguments:
        graph: undirected and without self loops.
        setting: `transductive`, `inductive` or `production`, see `mmkd_graph.splits.in_setting`.
        positions: columns of `position`; 0 leaves it out.
        smoothing: hops of `smoothed`; 0 leaves it out.
        legal: smallest and largest legal feature value, where known.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        setting: Setting,
        positions: int = 0,
        smoothing: int = 0,
        legal: tuple[float, float] | None = None,
    ) -> None:
        fields = {
            "x": Field((graph.features.shape[1],), layout="vector", range=legal),
            "edge_index": Field((2, None), "int64", "edges", kind="relation"),
            "label": Field((), "int64", target=True, classes=graph.classes),
        }
        samples = {"x": torch.from_numpy(graph.features), "label": torch.from_numpy(graph.labels)}
        self.setting, self.positions, self.smoothing = setting, positions, smoothing
        made = self._made(samples["x"], edges := graph.edge_index(), torch.empty(0, dtype=torch.long))
        fields |= {name: Field(tuple(value.shape[1:]), layout="vector") for name, value in made.items()}
        super().__init__(fields, samples | made, relations={"edge_index": edges}, unit="node", single_graph=True)

    def _made(self, x: Tensor, edges: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The fields that are made of edges, where some nodes are hidden."""
        made = {}
        if self.positions:
            made["position"] = position_features(edges, len(x), self.positions, hidden).to(x.device)
        if self.smoothing:
            made["smoothed"] = smoothed_features(x, edges, self.smoothing, hidden)
        return made

    def neighbours(self, row: int) -> Tensor:
        """Ids of the nodes that an edge leads to from `row`."""
        source, target = self.relations["edge_index"].cpu()
        return target[source == row]

    def draw(self, row: int, figure: FigureBase) -> str:
        """The node and its neighbours with their classes; `?` is the node itself."""
        classes, label = self.fields["label"].classes, self.samples["label"].cpu()
        known = [int(label[node]) for node in self.neighbours(row)]
        star(figure.subplots(), [(classes[one], short(classes[one])) if one >= 0 else ("unknown", "") for one in known])
        return "a node and the classes of its neighbours"

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        """Ids to train, select and test on."""
        raise NotImplementedError

    def split(self, seed: int) -> Split:
        split = in_setting(self.setting, *self.parts(seed), len(self), seed)
        known = self.samples["label"].cpu()[split.unlabelled] >= 0
        made = self._made(self.samples["x"], self.relations["edge_index"], split.hidden) if len(split.hidden) else {}
        return replace(split, unlabelled=split.unlabelled[known], inputs=made)
