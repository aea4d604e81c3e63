"""`symbolic/sst2`: sentences of film reviews, and in those of the form "A but B" the clause B."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt

from mmkd.data import Dataset, Field, Split
from mmkd.data.download import RemoteFile, fetch
from mmkd.errors import ConfigError
from mmkd_symbolic.files.sst import clause_after_but, read_sst
from mmkd_symbolic.text import numbers

_ADDRESS = "https://raw.githubusercontent.com/ZhitingHu/logicnn/f6b3cd4/data/raw"
PARTS = {
    "train": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    "dev": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    "test": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
}


class SST2(Dataset):
    """Stanford Sentiment Treebank, two classes, whole sentences: 6,920 to train, 872 to select, 1,821 to test.

    Fields: `tokens` `[length]`, word numbers, 0 beyond the end; `clause`, the same of what stands after "but"; `but`,
    whether the sentence has the form "A but B"; `label`. Test parts: `but` and `other`.

    Arguments:
        buckets: different word numbers; words share them by their crc32.
        length: words kept of a sentence.
        labelled: labelled training sentences, drawn by the seed; None: all.

    Raises:
        DataError: a file is absent, corrupt, or has a malformed line.
    """

    name = "symbolic/sst2"
    card = "sst2"

    def __init__(
        self, *, buckets: PositiveInt = 32768, length: PositiveInt = 56, labelled: PositiveInt | None = None
    ) -> None:
        if buckets < 2:
            raise ConfigError("symbolic/sst2: there must be 2 buckets or more, one of them for padding")
        read = [read_sst(path) for path in fetch(self.files(), self.name)]
        sentences = [sentence for _, some in read for sentence in some]
        clauses = [clause_after_but(sentence) for sentence in sentences]

        def encoded(texts: list[list[str]]) -> torch.Tensor:
            return torch.from_numpy(np.stack([numbers(text, buckets=buckets, length=length) for text in texts]))

        prepared = {"words": "crc32", "buckets": buckets}
        text = Field((length,), "int64", range=(0, buckets - 1), preparation=prepared)
        super().__init__(
            {
                "tokens": text,
                "clause": text,
                "but": Field((), "bool"),
                "label": Field((), "int64", target=True, classes=("negative", "positive")),
            },
            {
                "tokens": encoded(sentences),
                "clause": encoded(clauses),
                "but": torch.tensor([bool(clause) for clause in clauses]),
                "label": torch.tensor([label for labels, _ in read for label in labels]),
            },
            unit="sentence",
        )
        ends = np.cumsum([0, *(len(labels) for labels, _ in read)])
        self._rows = [torch.arange(start, end) for start, end in pairwise(ends.tolist())]
        self.labelled = labelled

    def split(self, seed: int) -> Split:
        """The published parts."""
        train, valid, test = self._rows
        if self.labelled is not None and self.labelled > len(train):
            raise ConfigError(
                f"symbolic/sst2: labelled = {self.labelled}, and there are {len(train)} training sentences"
            )
        order = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))]
        count = len(train) if self.labelled is None else self.labelled
        but = self.samples["but"][test]
        return Split(
            order[:count].sort().values, order[count:].sort().values, valid, {"but": test[but], "other": test[~but]}
        )

    @classmethod
    def files(cls, **config: Any) -> tuple[RemoteFile, ...]:
        """The three files."""
        return tuple(
            RemoteFile(f"{_ADDRESS}/stsa.binary.{part}", sha256, f"sst2_logicnn/stsa.binary.{part}")
            for part, sha256 in PARTS.items()
        )
