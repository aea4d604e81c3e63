"""`medical/brats`: folders of glioma patients in the manner of BraTS, brought by the user."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from mmkd.errors import ConfigError
from mmkd_medical.datasets.base import Parts, Size, Slices, Target, located
from mmkd_medical.files.folders import Naming, read_patients
from mmkd_medical.preparation import Preparation
from mmkd_medical.terms import CLASSES, SEQUENCES

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]

BRATS = Naming(
    {name: f"*_{name}.nii.gz" for name in SEQUENCES},
    "*_seg.nii.gz",
    {"core": [1], "oedema": [2], "enhancing": [4]},
)
DEEPMEDIC = Naming(
    {"flair": "Flair_subtrMeanDivStd.nii.gz", "t1ce": "T1c_subtrMeanDivStd.nii.gz"},
    "OTMultiClass.nii.gz",
    {"core": [1, 3], "oedema": [2], "enhancing": [4]},
)


class BraTS(Slices):
    """Axial slices of every patient below a folder; each seed draws anew who is labelled, unlabelled, and so on.

    Arguments:
        path: the folder, absolute or below the data root.
        naming: file names and label values: `brats` (`*_flair.nii.gz`, ..., `*_seg.nii.gz`; 1, 2, 4) or `deepmedic`
            (`Flair_subtrMeanDivStd.nii.gz`, `T1c_subtrMeanDivStd.nii.gz`, `OTMultiClass.nii.gz`; 1 and 3, 2, 4).
        sequences: other file-name patterns by sequence, in place of those of `naming`.
        label_file: another pattern of the label.
        label_values: other values of the label, by class.
        spacing: voxel size in mm that every scan must have.
        orientation: axes that scans are turned to; slices are taken along the last.
        pool: side of the in-plane blocks that are averaged: 4 makes slices of 60 x 60 of those of 240 x 240.
        labelled, unlabelled, valid, test: numbers of patients; unlabelled: all others where left out.
        target, crop, flip, intensity: see `Slices`.
    """

    name = "medical/brats"
    card = "brats"

    def __init__(
        self,
        *,
        path: str,
        naming: Literal["brats", "deepmedic"] = "brats",
        sequences: dict[str, str] | None = None,
        label_file: str | None = None,
        label_values: dict[str, list[int]] | None = None,
        spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0),
        orientation: Annotated[str, pydantic.Field(pattern="^[RLAPSI]{3}$")] = "RAS",
        pool: PositiveInt = 4,
        labelled: PositiveInt = 2,
        unlabelled: NonNegativeInt | None = None,
        valid: PositiveInt = 1,
        test: PositiveInt = 2,
        target: Target = "whole",
        crop: Size = (48, 48),
        flip: Share = 0.5,
        intensity: Share = 0.1,
    ) -> None:
        given = {"brats": BRATS, "deepmedic": DEEPMEDIC}[naming]
        if unknown := set(label_values or {}) - set(CLASSES[1:]):
            raise ConfigError(f"label_values names '{min(unknown)}', which is no class", f"classes: {CLASSES[1:]}")
        chosen = Naming(sequences or given.sequences, label_file or given.label, label_values or given.values)
        preparation = Preparation(spacing, orientation, pool)
        super().__init__(
            list(read_patients(located(path, self.name), chosen, preparation)),
            Parts(labelled, unlabelled, valid, test),
            spacing=preparation.slice_spacing,
            preparation=preparation,
            target=target,
            crop=crop,
            flip=flip,
            intensity=intensity,
        )
