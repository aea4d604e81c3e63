"""`medical/brats-slices`: glioma patients in four sequences, packed as slices in one file."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import NonNegativeInt, PositiveInt

from mmkd.errors import ConfigError
from mmkd_medical.datasets.base import Parts, Patient, Size, Slices, Target, located
from mmkd_medical.files.packed import read_packed
from mmkd_medical.preparation import Preparation

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
PIXEL = 2.0  # mm, and between slices


class BraTSSlices(Slices):
    """Four patients of BraTS 2021, every second axial slice, 96 x 96 pixels of 2 mm, in flair, t1, t1ce and t2.

    Arguments:
        path: the archive, absolute or below the data root.
        pool: side of the blocks that are averaged once more.
        labelled, unlabelled, valid, test: numbers of patients; unlabelled: all others where left out.
        target, crop, flip, intensity: see `Slices`.
    """

    name = "medical/brats-slices"
    card = "brats-slices"

    def __init__(
        self,
        *,
        path: str = "brats2021_4seq_slices/brats2021_4subj_4seq_96.npz",
        pool: PositiveInt = 2,
        labelled: PositiveInt = 1,
        unlabelled: NonNegativeInt | None = None,
        valid: PositiveInt = 1,
        test: PositiveInt = 1,
        target: Target = "whole",
        crop: Size = (),
        flip: Share = 0.5,
        intensity: Share = 0.1,
    ) -> None:
        pooled = Preparation((PIXEL, PIXEL, PIXEL), pool=pool)
        patients = [
            Patient(
                patient.name,
                {name: pooled.pooled(slices) for name, slices in patient.sequences.items()},
                pooled.central(patient.label),
            )
            for patient in read_packed(located(path, self.name))
        ]
        if not patients:
            raise ConfigError(f"{path} holds no patients")
        super().__init__(
            patients,
            Parts(labelled, unlabelled, valid, test),
            spacing=pooled.slice_spacing,
            target=target,
            crop=crop,
            flip=flip,
            intensity=intensity,
        )
