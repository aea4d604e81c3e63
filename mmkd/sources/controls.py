"""Controls: a source with part of its knowledge taken away, to see which part helped."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Source
from mmkd.sources.stored import Stored

# exp(-CERTAIN / T) is 0 in float32 for every temperature in use, and CERTAIN fits float16.
CERTAIN = 1e4


class Hardened(Source):
    """The source's argmax alone: logits of one class, and each feature replaced by its class's mean over the rows.

    Arguments:
        inner: the source.
        output: its output with class logits.
        prototypes: mean feature per predicted class and role, `[classes, ...]`.
    """

    def __init__(self, inner: Source, output: str, prototypes: Mapping[str, Tensor]) -> None:
        self.inner, self.output, self.prototypes = inner, output, prototypes

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        said = self.inner.signals(batch, student, call)
        logits = said.outputs[self.output]
        winner = logits.argmax(1)
        hard = F.one_hot(winner, logits.shape[1]).movedim(-1, 1).to(logits.dtype) * CERTAIN
        return Signals({self.output: hard}, {role: mean[winner] for role, mean in self.prototypes.items()})

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        specs = self.inner.measure(batch, call)
        return Specs({self.output: specs.outputs[self.output]}, specs.features)


class Permuted(Source):
    """The source's signals about other rows.

    Arguments:
        inner: a per-row source.
        partner: row whose signals row i gets, `[rows of the data set]`.
    """

    def __init__(self, inner: Source, partner: Tensor) -> None:
        self.inner, self.partner = inner, partner

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        index = self.partner[batch.index]
        if isinstance(self.inner, Stored):
            other = Batch(index, {}, batch.view, batch.labelled)  # a look-up needs ids alone
        else:
            other = batch.others(index)
        return self.inner.signals(other, None, None)

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.inner.measure(batch, call)


def partners(rows: Tensor, generator: torch.Generator, size: int, groups: Tensor | None = None) -> Tensor:
    """One fixed permutation of `rows`, within groups where given.

    Arguments:
        rows: ids to permute, `[R]`.
        generator: fixes the permutation.
        size: rows of the data set.
        groups: group of each of `rows`, `[R]`: the source's argmax, never the true label, which would leak it.

    Returns:
        Partner of every row of the data set, `[size]`; rows outside `rows` keep themselves.
    """
    partner = torch.arange(size)
    rows = rows.cpu()
    groups = torch.zeros(len(rows), dtype=torch.long) if groups is None else groups.cpu()
    for group in groups.unique():
        members = rows[groups == group]
        partner[members] = members[torch.randperm(len(members), generator=generator)]
    return partner


def class_means(features: Mapping[str, Tensor], winner: Tensor, classes: int) -> dict[str, Tensor]:
    """Mean feature of each predicted class, `[classes, ...]`; a class that is never predicted gets the overall mean."""
    means = {}
    for role, value in features.items():
        total = torch.zeros(classes, *value.shape[1:]).index_add_(0, winner, value.float())
        count = torch.bincount(winner, minlength=classes).reshape(-1, *[1] * (value.dim() - 1))
        means[role] = torch.where(count > 0, total / count.clamp(min=1), value.float().mean(0))
    return means
