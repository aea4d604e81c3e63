"""What the data sets share: patients whose volumes are read slice by slice, and splits by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import PositiveInt
from torch import Tensor

from mmkd.data import Field, LazyDataset, Split
from mmkd.data.root import VARIABLE, data_root
from mmkd.errors import ConfigError, DataError
from mmkd_medical.augmentation import Augmentation
from mmkd_medical.preparation import Preparation
from mmkd_medical.terms import CLASSES, WHOLE

Target = Literal["tissues", "whole"]
Size = tuple[PositiveInt, ...]


@dataclass(frozen=True)
class Patient:
    """One patient, prepared.

    Arguments:
        name: of the folder or key; for error messages.
        sequences: slices by sequence, `[D, H, W]`, 0 in the air.
        label: classes of `terms.CLASSES`, `[D, H, W]`.
    """

    name: str
    sequences: Mapping[str, Float[np.ndarray, "D H W"]]
    label: UInt8[np.ndarray, "D H W"]


@dataclass(frozen=True)
class Parts:
    """Numbers of patients in a split.

    Arguments:
        labelled: whose labels may be used.
        unlabelled: whose scans alone may be used; None: all that are left.
        valid: for selection.
        test: for testing.
    """

    labelled: int
    unlabelled: int | None
    valid: int
    test: int

    def of(self, patients: Sequence[int], owner: str) -> tuple[list[int], list[int], list[int], list[int]]:
        """Labelled, unlabelled, validation and test patients, drawn in their order from the end of it: test and
        validation patients stay the same when more are labelled. Raises `ConfigError` where there are too few."""
        fixed = self.labelled + self.valid + self.test + (self.unlabelled or 0)
        if fixed > len(patients) or min(self.labelled, self.valid, self.test) < 1:
            raise ConfigError(
                f"{owner}: {self.labelled} labelled, {self.unlabelled or 0} unlabelled, {self.valid} validation and"
                f" {self.test} test patients are wanted, and there are {len(patients)}",
                "each part but the unlabelled needs one, and no patient is in two",
            )
        test, rest = list(patients[: self.test]), list(patients[self.test :])
        valid, rest = rest[: self.valid], rest[self.valid :]
        labelled, rest = rest[: self.labelled], rest[self.labelled :]
        return labelled, rest if self.unlabelled is None else rest[: self.unlabelled], valid, test


class Slices(LazyDataset):
    """Slices of many patients' volumes; slices without any tissue are left out.

    Fields: each sequence, a map `[1, H, W]` in standard deviations of the patient's tissue; `label`, the class of each
    pixel, `[H, W]`. Groups are patients.

    Arguments:
        patients: of one slice size.
        parts: sizes of the split.
        spacing: mm between slices, rows and columns.
        preparation: how a scan on file becomes such slices, where the data set starts from scans.
        target: `tissues`: the classes of `terms.CLASSES`; `whole`: tumour or not.
        crop: rows and columns of the random crops that training sees; none: whole slices.
        flip, intensity: see `Augmentation`; 0 switches it off.
    """

    rows_at_once = 64

    def __init__(
        self,
        patients: Sequence[Patient],
        parts: Parts,
        *,
        spacing: tuple[float, float, float],
        preparation: Preparation | None = None,
        target: Target = "tissues",
        crop: Size = (),
        flip: float = 0.5,
        intensity: float = 0.1,
    ) -> None:
        if len(crop) not in (0, 2):
            raise ConfigError(f"crop = {list(crop)}: give rows and columns, or nothing")
        self.patients, self.parts, self.spacing = [patient.name for patient in patients], parts, spacing
        kept = [self._with_tissue(patient) for patient in patients]
        rows = torch.arange(len(patients)).repeat_interleave(torch.tensor([len(patient.label) for patient in kept]))
        form = {
            "layout": "map",
            "unit": "standard deviations",
            "preparation": None if preparation is None else preparation.manifest(),
        }
        classes = CLASSES if target == "tissues" else WHOLE
        fields = {name: Field((1, None, None), **form) for name in patients[0].sequences}
        fields["label"] = Field((None, None), "int64", target=True, classes=classes)
        super().__init__(fields, {}, groups=rows, unit="patient")
        self._images = {
            name: _stacked([patient.sequences[name] for patient in kept])[:, None] for name in fields if name != "label"
        }
        label = _stacked([patient.label for patient in kept])
        self._label = label if target == "tissues" else (label > 0).to(torch.uint8)
        self._augmentation = Augmentation(list(self._images), "label", crop=crop, flip=flip, intensity=intensity)

    @staticmethod
    def _with_tissue(patient: Patient) -> Patient:
        shown = np.logical_or.reduce([(slices != 0).any((1, 2)) for slices in patient.sequences.values()])
        return Patient(
            patient.name, {name: slices[shown] for name, slices in patient.sequences.items()}, patient.label[shown]
        )

    def __len__(self) -> int:
        return len(self._label)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        images = {name: slices[row] for name, slices in self._images.items()}
        return {**images, "label": self._label[row].long()}

    def read(self, index: Tensor) -> dict[str, Tensor]:
        where = index.cpu()
        samples = {name: slices[where] for name, slices in self._images.items()} | {"label": self._label[where].long()}
        return {name: value.to(index.device) for name, value in samples.items()}

    def augment(self, sample: Mapping[str, Any], generator: torch.Generator) -> Mapping[str, Any]:
        return self._augmentation(sample, generator)

    @property
    def augments(self) -> bool:
        return self._augmentation.is_random

    def content_hash(self) -> str:
        import hashlib

        digest = hashlib.sha256(repr((sorted(self._images), self.patients)).encode())
        for values in (*(self._images[name] for name in sorted(self._images)), self._label, self.groups):
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()

    def order(self, seed: int) -> list[int]:
        """Patients in the order in which a seed draws them."""
        return torch.randperm(len(self.patients), generator=torch.Generator().manual_seed(seed)).tolist()

    def split(self, seed: int) -> Split:
        labelled, unlabelled, valid, test = (
            torch.isin(self.groups, torch.tensor(part, dtype=torch.long)).nonzero()[:, 0]
            for part in self.parts.of(self.order(seed), type(self).name)
        )
        return Split(labelled, unlabelled, valid, {"test": test})


def located(path: str, name: str) -> Path:
    """An absolute path, or one below the data root. Raises `DataError` where it is absent."""
    place = data_root() / path  # which an absolute path replaces
    if not place.exists():
        raise DataError(
            f"data set {name} is not on this machine: {place} is absent",
            f"bring it from its publisher (`mmkd data show {name}`), and set {VARIABLE} or dataset.path",
        )
    return place


def _stacked(volumes: Sequence[np.ndarray]) -> Tensor:
    shapes = sorted({volume.shape[1:] for volume in volumes})
    if len(shapes) > 1:
        raise DataError(
            f"slices are of different sizes: {', '.join(f'{h} x {w}' for h, w in shapes)}", "crop the scans"
        )
    return torch.from_numpy(np.concatenate(volumes))
