"""Data sets: samples, constants and relations, in memory or read lazily; and their splits.

A sample field has one row per sample, a constant is shared, a relation ties rows. Rows keep their global ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmkd.data.download import RemoteFile, fetch
from mmkd.data.fields import Field
from mmkd.errors import DataError
from mmkd.nested import map_tensors, named_tensors, rows_of, strided_parts, tensors_in

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase


@dataclass(frozen=True)
class Split:
    """Row ids of one split; all are global ids of the data set.

    Arguments:
        labelled: training rows whose labels may be used.
        unlabelled: training rows whose inputs alone may be used; in a transductive setting also `valid` and `test`.
        valid: rows for selection.
        test: named parts of the test rows, e.g. `{"tran": ..., "ind": ...}`; `{"test": ...}` where there is but one.
        hidden: rows that nothing may see during training: views cut their relations and blank their inputs.
        setting: `inductive`, `transductive` or `production`, printed in the report.
        folds: True where seeds are folds that cover the data once each.
        observed: targets as training sees them, `[rows of the data set, ...]`, where they are not the true ones: noisy
            or weak labels. Validation and test rows keep the true ones.
        inputs: sample fields whose values depend on the split, `[rows of the data set, ...]`, in place of the data
            set's, in training and evaluation alike: what was computed from the rows that training may see.
    """

    labelled: Tensor
    unlabelled: Tensor
    valid: Tensor
    test: Mapping[str, Tensor]
    hidden: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    setting: str = "inductive"
    folds: bool = False
    observed: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labelled, tested = set(self.labelled.tolist()), set(self.test_rows.tolist())
        for name, rows in (("validation", set(self.valid.tolist())), ("test", tested)):
            if common := labelled & rows:
                raise DataError(f"the split has {len(common)} rows in both the labelled and the {name} part")
        if common := tested & set(self.valid.tolist()):
            raise DataError(f"the split has {len(common)} rows in both the validation and the test part")

    @property
    def train(self) -> Tensor:
        """Labelled and unlabelled rows: what methods see. `[R]`, sorted."""
        return torch.unique(torch.cat([self.labelled, self.unlabelled]))

    @property
    def test_rows(self) -> Tensor:
        """All test rows, part after part."""
        return torch.cat(list(self.test.values())) if self.test else torch.empty(0, dtype=torch.long)


class Dataset:
    """A data set held in memory as tensors.

    A reader subclasses it, or calls it with tensors. Override `split` for a published procedure; for data that is too
    large for memory subclass `LazyDataset`.

    Arguments:
        fields: declared form of every value.
        samples: tensors (or nested dicts of them) with one row per sample.
        constants: shared values.
        relations: values that tie rows.
        groups: group id per row (subject, patient, drive), `[rows]`; `None`: each row is its own unit.
        unit: what an independent test unit is called in reports.
        single_graph: True where all rows are nodes of one graph: verdicts then hold "on this graph".

    Attributes:
        rows_at_once: rows of a batch where nothing is learnt: evaluation, and filling the cache.
    """

    name = ""
    card = ""
    rows_at_once = 512

    def __init__(
        self,
        fields: Mapping[str, Field],
        samples: Mapping[str, Any],
        *,
        constants: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        groups: Tensor | None = None,
        unit: str = "sample",
        single_graph: bool = False,
    ) -> None:
        self.fields = dict(fields)
        self.samples = dict(samples)
        self.constants = dict(constants or {})
        self.relations = dict(relations or {})
        self.groups = groups
        self.unit = unit
        self.single_graph = single_graph
        self._check()

    def _check(self) -> None:
        values = {**self.samples, **self.constants, **self.relations}
        if missing := set(self.fields) ^ set(values):
            raise DataError(f"data set {type(self).__name__}: fields and values differ in {', '.join(sorted(missing))}")
        rows = {name: len(tensor) for name, value in self.samples.items() for tensor in tensors_in(value)}
        if len(set(rows.values())) > 1:
            raise DataError(f"data set {type(self).__name__}: sample fields differ in rows: {rows}")
        for name, value in values.items():
            for place, tensor in named_tensors(name, value):
                held = strided_parts(tensor)[-1]
                if held.is_floating_point() and not self.fields[name].target and not torch.isfinite(held).all():
                    raise DataError(f"data set {type(self).__name__}: field '{place}' holds NaN or infinite values")

    def __len__(self) -> int:
        return next(len(tensor) for value in self.samples.values() for tensor in tensors_in(value))

    @classmethod
    def files(cls, **config: Any) -> tuple[RemoteFile, ...]:
        """The files that this configuration reads (of any, where none is given); none where nothing is downloaded."""
        return ()

    @classmethod
    def get(cls, **config: Any) -> list[Path]:
        """Download what is absent or corrupt, and verify everything: `mmkd data get`. Raises like `fetch`."""
        return fetch(cls.files(**config), cls.name, download=True)

    def make(self, folder: Path) -> list[Path]:
        """Write the data to disk: `mmkd data make`. Override it to write the standard format of the domain, which a
        reader of real files then reads; the default writes arrays (see `mmkd.data.folder`).

        Returns:
            The files written. Raises `DataError` where `folder` holds something already.
        """
        from mmkd.data.folder import write

        return write(self, folder, self.name or type(self).__name__)

    def draw(self, row: int, figure: FigureBase) -> str:
        """Draw one sample for a reader, as the report shows it. Override it to draw what its domain would draw; the
        default draws series, pictures and columns with names.

        Arguments:
            row: its id.
            figure: an empty matplotlib figure, or a part of one.

        Returns:
            What was drawn, in a few words; empty for nothing.
        """
        from mmkd.data.drawing import draw_sample

        return draw_sample(self, row, figure)

    def read(self, index: Tensor) -> dict[str, Any]:
        """Sample fields of the rows `index`, targets included; `[B, ...]` each."""
        return {name: rows_of(value, index) for name, value in self.samples.items()}

    def split(self, seed: int) -> Split:
        """The split of one seed. Override it: a data set without a published procedure says so by its own rule."""
        raise DataError(f"data set {type(self).__name__} defines no split")

    def cut(self, hidden: Tensor) -> dict[str, Any]:
        """Relations without the hidden rows, ids unchanged: edges that touch one are dropped.

        Override it for relations of another layout than `edges`. Raises `DataError` where the core cannot cut one.
        """
        if not len(hidden):
            return self.relations
        masked = torch.zeros(len(self), dtype=torch.bool, device=hidden.device)
        masked[hidden] = True
        cut = {}
        for name, value in self.relations.items():
            if self.fields[name].layout != "edges":
                raise DataError(
                    f"relation '{name}' (layout '{self.fields[name].layout}') cannot be cut to the visible rows",
                    f"{type(self).__name__} must override `cut`, or use a transductive setting",
                )
            keep = ~masked.to(value.device)[value].any(0)
            cut[name] = value[:, keep]
        return cut

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set with in-memory values on `device`."""
        for values in (self.samples, self.constants, self.relations):
            for name, value in values.items():
                values[name] = map_tensors(lambda tensor: tensor.to(device), value)
        return self

    def content_hash(self) -> str:
        """sha256 over names, keys of nested dicts, types, shapes and bytes of every in-memory value."""
        digest = hashlib.sha256()
        for values in (self.samples, self.constants, self.relations):
            for name in sorted(values):
                for place, tensor in named_tensors(name, values[name]):
                    digest.update(f"{place} {tensor.dtype} {tuple(tensor.shape)}".encode())
                    for part in strided_parts(tensor.detach()):
                        digest.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


class LazyDataset(Dataset):
    """A data set whose samples are read one by one through `__getitem__`.

    Subclasses give `fields`, `__len__`, `__getitem__(row) -> dict`, and, where samples differ in size, `collate`.
    Constants and relations stay in memory.
    """

    rows_at_once = 32

    def _check(self) -> None:
        known = {**self.constants, **self.relations}
        samples = {name for name, declared in self.fields.items() if declared.kind == "sample"}
        if missing := (set(self.fields) - samples) ^ set(known):
            raise DataError(f"data set {type(self).__name__}: fields and values differ in {', '.join(sorted(missing))}")

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        raise NotImplementedError

    def collate(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Join samples to a batch: stacked. Override it to pad, and declare the mask as a field of its own."""
        return {name: torch.stack([torch.as_tensor(sample[name]) for sample in samples]) for name in samples[0]}

    def augment(self, sample: Mapping[str, Any], generator: torch.Generator) -> Mapping[str, Any]:
        """Random transform of one training sample; `generator` is a function of (seed, epoch, row)."""
        return sample

    @property
    def augments(self) -> bool:
        """Whether training samples differ from epoch to epoch."""
        return type(self).augment is not LazyDataset.augment

    @property
    def pads(self) -> bool:
        """Whether samples may differ in size, so that what a model says of a row may depend on its batch's padding."""
        return type(self).collate is not LazyDataset.collate

    def read(self, index: Tensor) -> dict[str, Any]:
        samples = self.collate([self[int(row)] for row in index])
        return {name: map_tensors(lambda tensor: tensor.to(index.device), value) for name, value in samples.items()}

    def content_hash(self) -> str:
        """Override it with a hash of the files; the default reads every sample once."""
        digest = hashlib.sha256()
        for row in range(len(self)):
            for name, value in sorted(self[row].items()):
                held = value if isinstance(value, Mapping) else torch.as_tensor(value)
                for place, tensor in named_tensors(name, held):
                    digest.update(f"{place} {tensor.dtype} {tuple(tensor.shape)}".encode())
                    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()
