"""What the graph data sets share: nodes as rows, one relation, a label, and the two settings."""

from __future__ import annotations

from dataclasses import replace

import torch

from mmkd.data import Dataset, Field, Split
from mmkd_graph.graph import Graph
from mmkd_graph.splits import Rows, Setting, in_setting


class NodeData(Dataset):
    """The nodes of one graph, to be classified.

    Fields: `x` `[N, F]`, one row per node; `edge_index` `[2, E]`, (source, target) of every edge in both directions, no
    self loops; `label`. A node whose class nobody knows (label -1) is seen through its edges and is in no part.

    Subclasses give `parts`, and `files` where they are read from disk.

    Arguments:
        graph: undirected and without self loops.
        setting: `transductive` or `production`, see `mmkd_graph.splits.in_setting`.
        legal: smallest and largest legal feature value, where known.
    """

    def __init__(self, graph: Graph, *, setting: Setting, legal: tuple[float, float] | None = None) -> None:
        fields = {
            "x": Field((graph.features.shape[1],), layout="vector", range=legal),
            "edge_index": Field((2, None), "int64", "edges", kind="relation"),
            "label": Field((), "int64", target=True, classes=graph.classes),
        }
        super().__init__(
            fields,
            {"x": torch.from_numpy(graph.features), "label": torch.from_numpy(graph.labels)},
            relations={"edge_index": graph.edge_index()},
            unit="node",
            single_graph=True,
        )
        self.setting = setting

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        """Ids to train, select and test on."""
        raise NotImplementedError

    def split(self, seed: int) -> Split:
        split = in_setting(self.setting, *self.parts(seed), len(self), seed)
        return replace(split, unlabelled=split.unlabelled[self.samples["label"].cpu()[split.unlabelled] >= 0])
