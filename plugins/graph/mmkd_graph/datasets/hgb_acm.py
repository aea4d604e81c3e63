"""`graph/hgb-acm`: papers, their authors and subjects, in the form of the Heterogeneous Graph Benchmark."""

from __future__ import annotations

from typing import Any

from mmkd.data.download import RemoteFile, fetch
from mmkd_graph.datasets.hgb import HGB
from mmkd_graph.splits import Setting

_URL = "https://raw.githubusercontent.com/CrawlScript/gnn_datasets/482d7152d6/HGB/ACM.zip"
_SHA256 = "ae44fdd7bd0a42ec7ac747bcb7d2b5d27eeb23aa4ea28e226094d0691d123c16"
METAPATHS: dict[str, list[str]] = {"pap": ["author"], "psp": ["subject"], "pp": []}


class HGBACM(HGB):
    """ACM of HGB: 3,025 papers of 3 fields of computing, 5,959 authors, 56 subjects, who cites whom.

    907 papers have labels that one may learn from; the test rows are the 1,059 of `label.dat.test`; the other 1,059
    have no published label. Metapaths: a common author, a common subject, a citation.

    Arguments:
        setting: `transductive`; `production`, a fifth of the test papers held out; `inductive`, those to select on too.
        terms: keep the 1,902 terms, which have no features of their own, and their 511,238 edges.
    """

    name = "graph/hgb-acm"
    card = "hgb-acm"

    def __init__(self, *, setting: Setting = "transductive", terms: bool = False) -> None:
        (place,) = fetch(self.files(), self.name)
        self._read(place, setting, () if terms else ("term",), METAPATHS, legal=(0.0, 1.0))

    @classmethod
    def files(cls, **config: Any) -> tuple[RemoteFile, ...]:
        return (RemoteFile(_URL, _SHA256, "hgb/ACM.zip"),)
