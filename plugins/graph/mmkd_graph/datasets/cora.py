"""`graph/cora`: papers, the words that they use and whom they cite; with the CPF splits or Planetoid's public split."""

from __future__ import annotations

from typing import Any, Literal

from mmkd.data.download import RemoteFile, fetch
from mmkd_graph.datasets.base import NodeData
from mmkd_graph.files.npz import read_npz
from mmkd_graph.files.planetoid import PARTS, read_planetoid
from mmkd_graph.graph import Graph, simple, standardise
from mmkd_graph.splits import Rows, Setting, per_class

LABELLED, VALID = 20, 30
CLASSES = (  # of Planetoid's label columns, whose files name none
    "Theory",
    "Reinforcement_Learning",
    "Genetic_Algorithms",
    "Neural_Networks",
    "Probabilistic_Methods",
    "Case_Based",
    "Rule_Learning",
)

_GITHUB = "https://raw.githubusercontent.com"
_GNN_BENCHMARK = f"{_GITHUB}/shchur/gnn-benchmark/1e72912a0810cdf27ae54fd589a3b43358a2b161/data/npz"
_PLANETOID = f"{_GITHUB}/kimiyoung/planetoid/af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"
_SHA256 = {
    "cora.npz": "068e22d90c3849b4057dfb05851741428992af058efcd4e7ebb4186f3d581de2",
    "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
}

Procedure = Literal["cpf", "planetoid"]


class Cora(NodeData):
    """Cora: 1,433 binary words per paper, citations, 7 topics.

    Arguments:
        split: `cpf`: the largest connected component (2,485 nodes, 5,069 edges); each seed draws 20 nodes per class to
            train and 30 to select on, all others are for testing, as in CPF and GLNN. `planetoid`: all 2,708 nodes
            (5,278 edges) with the one public split of 140, 500 and 1,000, whatever the seed.
        setting: `transductive`, or `production` with a fifth of the test nodes held out.
    """

    name = "graph/cora"
    card = "cora"

    def __init__(self, *, split: Procedure = "cpf", setting: Setting = "transductive") -> None:
        places = fetch(self.files(split=split), self.name)
        self._public: tuple[Rows, Rows, Rows] | None = None
        if split == "cpf":
            graph = standardise(read_npz(places[0]))
        else:
            read, self._public = read_planetoid(dict(zip(PARTS, places, strict=True)))
            graph = simple(Graph(read.features, read.adjacency, read.labels, CLASSES))
        super().__init__(graph, setting=setting, legal=(0.0, 1.0))

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        return self._public or per_class(self.samples["label"].numpy(), seed, LABELLED, VALID)

    @classmethod
    def files(cls, *, split: Procedure | None = None, **config: Any) -> tuple[RemoteFile, ...]:
        """The files of one kind of split, or of both."""
        npz = RemoteFile(f"{_GNN_BENCHMARK}/cora.npz", _SHA256["cora.npz"], "gnn_benchmark_npz/cora.npz")
        raw = (
            RemoteFile(f"{_PLANETOID}/ind.cora.{part}", _SHA256[part], f"planetoid/cora/raw/ind.cora.{part}")
            for part in PARTS
        )
        return {"cpf": (npz,), "planetoid": tuple(raw)}[split] if split else (npz, *raw)
