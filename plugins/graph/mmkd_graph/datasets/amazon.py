"""`graph/a-photo`, `graph/a-computer`: products, the words of their reviews and what is bought together."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import NonNegativeInt

from mmkd.data.download import RemoteFile, fetch
from mmkd_graph.datasets.base import NodeData
from mmkd_graph.files.npz import read_npz
from mmkd_graph.graph import standardise
from mmkd_graph.splits import Rows, Setting, cpf

_SOURCE = (
    "https://raw.githubusercontent.com/CrawlScript/gnn_datasets/482d7152d60e429763ca256dd0906fa9badaae0c/"
    "AmazonElectronics"
)


class Amazon(NodeData):
    """What the two co-purchase graphs share: the largest connected component with the CPF splits.

    Arguments:
        setting: `transductive`; `production`, a fifth of the test nodes held out; `inductive`, those for selection too.
        positions: columns of `position`, where the node stands in the graph; 0 leaves it out.
        smoothing: hops of `smoothed`, the mean of the features around; 0 leaves it out.

    Attributes:
        file: the archive's name.
        sha256: of it.
    """

    file: ClassVar[str]
    sha256: ClassVar[str]

    def __init__(
        self, *, setting: Setting = "transductive", positions: NonNegativeInt = 0, smoothing: NonNegativeInt = 0
    ) -> None:
        (place,) = fetch(self.files(), self.name)
        graph = standardise(read_npz(place))
        super().__init__(graph, setting=setting, positions=positions, smoothing=smoothing, legal=(0.0, 1.0))

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        return cpf(self.samples["label"].numpy(), seed)

    @classmethod
    def files(cls, **config: Any) -> tuple[RemoteFile, ...]:
        return (RemoteFile(f"{_SOURCE}/{cls.file}", cls.sha256, f"gnn_benchmark_npz/{cls.file}"),)


class Photo(Amazon):
    """Amazon Photo: 7,487 products, 119,043 edges, 745 binary words, 8 categories."""

    name = "graph/a-photo"
    card = "a-photo"
    file = "amazon-photo.zip"
    sha256 = "9a1a31380c0480c87d4174f3e76e51956720da6e01ad5332b437e3dc99f11724"


class Computer(Amazon):
    """Amazon Computers: 13,381 products, 245,778 edges, 767 binary words, 10 categories."""

    name = "graph/a-computer"
    card = "a-computer"
    file = "amazon-computers.zip"
    sha256 = "ef387b28234c0aae28f49a337d5ad4074ec31063ddd7650b8fd0ab986cecd155"
