"""`graph/npz`: any graph on file in the layout of gnn-benchmark (CiteSeer, PubMed, Amazon, ...)."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from mmkd.data.root import find
from mmkd_graph.datasets.base import NodeData
from mmkd_graph.files.npz import read_npz
from mmkd_graph.graph import standardise
from mmkd_graph.splits import Rows, Setting, per_class


class Npz(NodeData):
    """The largest connected component of a graph on file, split like `graph/cora` with `split = "cpf"`.

    Arguments:
        path: the file; relative to the working directory or, if it is not there, to the data root.
        setting: `transductive`; `production`, a fifth of the test nodes held out; `inductive`, those for selection too.
        labels_per_class: labelled training nodes.
        valid_per_class: nodes for selection; all others are for testing.
        positions: columns of `position`, where the node stands in the graph; 0 leaves it out.
        smoothing: hops of `smoothed`, the mean of the features around; 0 leaves it out.
    """

    name = "graph/npz"

    def __init__(
        self,
        *,
        path: str,
        setting: Setting = "transductive",
        labels_per_class: PositiveInt = 20,
        valid_per_class: NonNegativeInt = 30,
        positions: NonNegativeInt = 0,
        smoothing: NonNegativeInt = 0,
    ) -> None:
        place = Path(path).expanduser()
        place = place if place.exists() else find(path) or place
        super().__init__(standardise(read_npz(place)), setting=setting, positions=positions, smoothing=smoothing)
        self.labels_per_class, self.valid_per_class = labels_per_class, valid_per_class

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        return per_class(self.samples["label"].numpy(), seed, self.labels_per_class, self.valid_per_class)
