"""`graph/cora`, `graph/citeseer`: papers, their words and whom they cite, with the CPF or Planetoid's public split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt

from mmkd.data.download import RemoteFile, fetch
from mmkd_graph.datasets.base import NodeData
from mmkd_graph.files.npz import read_npz
from mmkd_graph.files.planetoid import PARTS, read_planetoid
from mmkd_graph.graph import Graph, simple, standardise
from mmkd_graph.splits import Rows, Setting, cpf

_GITHUB = "https://raw.githubusercontent.com"
_GNN_BENCHMARK = f"{_GITHUB}/shchur/gnn-benchmark/1e72912a0810cdf27ae54fd589a3b43358a2b161/data/npz"
_PLANETOID = f"{_GITHUB}/kimiyoung/planetoid/af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"

Procedure = Literal["cpf", "planetoid"]


class Citations(NodeData):
    """What the two citation graphs share.

    Arguments:
        split: `cpf`: the largest connected component; each seed draws 20 nodes per class to train and 30 to select on,
            all others are for testing, as in CPF and GLNN. `planetoid`: all nodes with the one public split (20 per
            class, 500, 1,000), whatever the seed.
        setting: `transductive`; `production`, a fifth of the test nodes held out; `inductive`, those for selection too.
        positions: columns of `position`, where the node stands in the graph; 0 leaves it out.
        smoothing: hops of `smoothed`, the mean of the features around; 0 leaves it out.

    Attributes:
        stem: name of the files.
        classes: of Planetoid's label columns, whose files name none.
        sha256: of the npz file and of each of Planetoid's parts.
    """

    stem: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    sha256: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        *,
        split: Procedure = "cpf",
        setting: Setting = "transductive",
        positions: NonNegativeInt = 0,
        smoothing: NonNegativeInt = 0,
    ) -> None:
        places = fetch(self.files(split=split), self.name)
        self._public: tuple[Rows, Rows, Rows] | None = None
        if split == "cpf":
            graph = standardise(read_npz(places[0]))
        else:
            read, self._public = read_planetoid(dict(zip(PARTS, places, strict=True)))
            graph = simple(Graph(read.features, read.adjacency, read.labels, self.classes))
        super().__init__(graph, setting=setting, positions=positions, smoothing=smoothing, legal=(0.0, 1.0))

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        return self._public or cpf(self.samples["label"].numpy(), seed)

    @classmethod
    def files(cls, *, split: Procedure | None = None, **config: Any) -> tuple[RemoteFile, ...]:
        """The files of one kind of split, or of both."""
        file = f"{cls.stem}.npz"
        npz = RemoteFile(f"{_GNN_BENCHMARK}/{file}", cls.sha256["npz"], f"gnn_benchmark_npz/{file}")
        raw = (
            RemoteFile(
                f"{_PLANETOID}/ind.{cls.stem}.{part}",
                cls.sha256[part],
                f"planetoid/{cls.stem}/raw/ind.{cls.stem}.{part}",
            )
            for part in PARTS
        )
        return {"cpf": (npz,), "planetoid": tuple(raw)}[split] if split else (npz, *raw)


class Cora(Citations):
    """Cora: 1,433 binary words per paper, 7 topics; 2,485 nodes and 5,069 edges (`cpf`), or 2,708 and 5,278."""

    name = "graph/cora"
    card = "cora"
    stem = "cora"
    classes = (
        "Theory",
        "Reinforcement_Learning",
        "Genetic_Algorithms",
        "Neural_Networks",
        "Probabilistic_Methods",
        "Case_Based",
        "Rule_Learning",
    )
    sha256: ClassVar[Mapping[str, str]] = {
        "npz": "068e22d90c3849b4057dfb05851741428992af058efcd4e7ebb4186f3d581de2",
        "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
        "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    }


class CiteSeer(Citations):
    """CiteSeer: 3,703 binary words per paper, 6 fields of research; 2,110 nodes and 3,668 edges (`cpf`), or 3,327 and
    4,552, of which 15 have neither words nor class and are in no part of the public split."""

    name = "graph/citeseer"
    card = "citeseer"
    stem = "citeseer"
    classes = tuple(map(str, range(6)))
    sha256: ClassVar[Mapping[str, str]] = {
        "npz": "280278b21b434c047922e8389518861416fb3ad39389c27865ff0e6bbb0aaab7",
        "x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
        "ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    }
