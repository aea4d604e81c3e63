"""Views and batches: which rows of a data set may be seen, and the rows of one step.

A view keeps global row ids. Labels outside `labelled` are blanked and hidden rows are cut from every relation, so no
model can read what its arm may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mmkd.data.datasets import Dataset
from mmkd.data.fields import Field
from mmkd.errors import BindingError
from mmkd.nested import map_tensors

Read = Callable[[Tensor], Mapping[str, Any]]
"""Gives the sample fields of rows by their ids."""


class View:
    """The part of a data set that one stage may see.

    Arguments:
        dataset: the data.
        rows: global ids of the rows that batches are drawn from, `[R]`.
        labelled: ids whose targets may be read; others are blanked.
        hidden: ids that must not be seen: inputs zeroed, relations cut.
        observed: targets that stand in place of the data set's, `[rows of the data set, ...]`.
        inputs: the same for sample fields that models read.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Tensor,
        labelled: Tensor,
        hidden: Tensor | None = None,
        observed: Mapping[str, Tensor] | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.dataset = dataset
        self.rows = rows
        self.labelled = labelled
        self.hidden = hidden if hidden is not None else torch.empty(0, dtype=torch.long)
        self.observed = {name: value.to(rows.device) for name, value in (observed or {}).items()}
        self.inputs = {name: value.to(rows.device) for name, value in (inputs or {}).items()}
        self._mask = torch.zeros(len(dataset), dtype=torch.bool, device=rows.device)
        self._mask[labelled.to(rows.device)] = True
        self.all_labelled = bool(self._mask.all())  # then no batch has to ask
        self.extra: dict[str, Any] = {}

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.dataset.fields

    @cached_property
    def relations(self) -> Mapping[str, Any]:
        return self.dataset.cut(self.hidden)

    @cached_property
    def whole(self) -> Mapping[str, Any]:
        """Sample fields of all rows of the data set, hidden ones zeroed: what a relation-reading model runs on."""
        inputs = {name for name, declared in self.fields.items() if declared.kind == "sample" and not declared.target}
        every = torch.arange(len(self.dataset), device=self.rows.device)
        samples = {**(self.dataset.samples or self.dataset.read(every)), **self.inputs}
        visible = {name: samples[name] for name in inputs}
        if not len(self.hidden):
            return visible
        hidden = self.hidden.to(self.rows.device)
        return {name: map_tensors(lambda x: x.index_fill(0, hidden, 0), value) for name, value in visible.items()}

    def batch(self, index: Tensor, read: Read | None = None, samples: Mapping[str, Any] | None = None) -> Batch:
        """The batch of the rows `index`.

        Arguments:
            read: gives the sample fields of any rows, e.g. with an epoch's random transforms; default: the data set's.
            samples: those of `index`, where a loader has read them already.
        """
        samples = dict(samples if samples is not None else (read or self.dataset.read)(index))
        instead = {**self.observed, **self.inputs}
        samples |= {name: value[index] for name, value in instead.items() if name in samples}
        labelled = None if self.all_labelled else self._mask[index]
        if labelled is not None and not bool(labelled.all()):
            for name, declared in self.fields.items():
                if declared.target and name in samples:
                    samples[name] = map_tensors(lambda target: blank(target, labelled), samples[name])
        for name, value in self.extra.items():
            samples[name] = map_tensors(lambda tensor: tensor[index], value)
        return Batch(index, samples, self, labelled, read)

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows of the view in order, `size` at a time."""
        for index in self.rows.split(size):
            yield self.batch(index)

    def only(self, rows: Tensor) -> View:
        """The same view, drawing batches from other rows."""
        return View(self.dataset, rows, self.labelled, self.hidden, self.observed, self.inputs)


class Batch(Mapping[str, Any]):
    """Rows of one step: `batch["camera"]` is a sample field's rows, a constant or a relation.

    Arguments:
        index: global row ids, `[B]`.
        samples: sample fields, one row per id.
        view: where the rows come from; gives constants, relations and whole fields.
        labelled: which rows have labels, bool `[B]`; None: all.
        read: how the rows were read, if not as the data set holds them.
        replaced: fields whose values are no longer those of the rows: what is stored by row id says nothing of them.
    """

    def __init__(
        self,
        index: Tensor,
        samples: Mapping[str, Any],
        view: View,
        labelled: Tensor | None,
        read: Read | None = None,
        replaced: frozenset[str] = frozenset(),
    ) -> None:
        self.index = index
        self.samples = dict(samples)
        self.view = view
        self._labelled = labelled
        self._read = read
        self.replaced = replaced

    @property
    def labelled(self) -> Tensor:
        """Which rows have labels, bool `[B]`."""
        if self._labelled is None:
            self._labelled = torch.ones(len(self.index), dtype=torch.bool, device=self.index.device)
        return self._labelled

    def __getitem__(self, name: str) -> Any:
        for values in (self.samples, self.view.dataset.constants):
            if name in values:
                return values[name]
        if name in self.view.relations:
            return self.view.relations[name]
        raise BindingError(f"the data has no field '{name}'", f"fields: {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter({**self.samples, **self.view.dataset.constants, **self.view.dataset.relations})

    def __len__(self) -> int:
        return len(list(iter(self)))

    def replace(self, **samples: Any) -> Batch:
        """The same rows with other sample values, e.g. a generator's inputs or a sentence's clause."""
        replaced = self.replaced | set(samples)
        return Batch(self.index, {**self.samples, **samples}, self.view, self._labelled, self._read, replaced)

    def others(self, index: Tensor) -> Batch:
        """Other rows, read as these were: with the same epoch's random transforms."""
        return self.view.batch(index, self._read)

    def take(self, rows: Tensor) -> Batch:
        """A part of the batch; `rows` are positions in it, or a bool mask."""
        samples = {name: map_tensors(lambda x: x[rows], value) for name, value in self.samples.items()}
        return Batch(self.index[rows], samples, self.view, self.labelled[rows], self._read, self.replaced)

    def to(self, device: torch.device | str) -> Batch:
        move = {name: map_tensors(lambda x: x.to(device), value) for name, value in self.samples.items()}
        return Batch(self.index.to(device), move, self.view, self.labelled.to(device), self._read, self.replaced)


def blank(target: Tensor, labelled: Tensor) -> Tensor:
    """Overwrite the targets of rows that are not labelled: NaN for floats, False for bools, -1 for integers."""
    value: Any = float("nan") if target.is_floating_point() else False if target.dtype == torch.bool else -1
    return target.masked_fill(~labelled.reshape(-1, *[1] * (target.dim() - 1)), value)
