"""`graph/hgb`: a typed graph on file in the layout of the Heterogeneous Graph Benchmark (DBLP, or one's own)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmkd.data.root import find
from mmkd_graph.datasets.typed import TypedData, is_derived
from mmkd_graph.files.hgb import by_type, read_hgb
from mmkd_graph.splits import Rows, Setting
from mmkd_graph.typed import TypedGraph, with_reverse

VALID = 0.2


class HGB(TypedData):
    """The nodes that have labels, of an archive or folder that `mmkd_graph.files.hgb` reads; one class per node.

    Each seed draws a fifth of the nodes of `label.dat` for selection; those of `label.dat.test` are for testing; others
    have no published label and stand among the unlabelled. A type without features gets one-hot ones.

    Arguments:
        path: the archive or folder; relative to the working directory or, if it is not there, to the data root.
        setting: `transductive`; `production`, a fifth of the test nodes held out; `inductive`, those for selection too.
        without: types to leave out, with their edges.
        metapaths: types passed on the way from one labelled node to another, e.g. `{ apa = ["paper"] }`.
    """

    name = "graph/hgb"

    def __init__(
        self,
        *,
        path: str,
        setting: Setting = "transductive",
        without: tuple[str, ...] = (),
        metapaths: dict[str, list[str]] | None = None,
    ) -> None:
        place = Path(path).expanduser()
        self._read(place if place.exists() else find(path) or place, setting, without, metapaths or {})

    def _read(
        self,
        place: Path,
        setting: Setting,
        without: Sequence[str],
        metapaths: Mapping[str, Sequence[str]],
        legal: tuple[float, float] | None = None,
    ) -> None:
        read = read_hgb(place)
        features = {
            name: np.eye(read.counts[name], dtype=np.float32) if value is None else value
            for name, value in read.features.items()
            if name not in without
        }
        labels = np.full(read.counts[read.target], -1, dtype=np.int64)
        for rows, classes in (read.labelled, read.tested):
            labels[rows] = classes
        graph = TypedGraph(features, with_reverse(by_type(read.edges, without)), read.target, labels, read.classes)
        derived = [name for name in features if name != graph.target and is_derived(graph, name)]
        super().__init__(graph, setting=setting, metapaths=metapaths, derived=derived, legal=legal)
        self._labelled, self._tested = read.labelled[0], np.sort(read.tested[0])

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        drawn = np.random.RandomState(seed).permutation(self._labelled)
        valid = int(len(drawn) * VALID)
        return drawn[valid:], drawn[:valid], self._tested
