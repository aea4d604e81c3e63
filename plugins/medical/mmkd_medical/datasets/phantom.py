"""`medical/phantom`: generated heads with gliomas, in four sequences. Embedded: no download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import NonNegativeInt, PositiveInt

from mmkd.files import write_atomic
from mmkd_medical.anatomy import SPACING, Head, Knobs, head
from mmkd_medical.datasets.base import Parts, Patient, Size, Slices, Target
from mmkd_medical.files.nifti import to_bytes
from mmkd_medical.preparation import Preparation
from mmkd_medical.terms import SEQUENCES

Setting = Literal["positive", "null", "harm"]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]

AFFINE = np.diag([*SPACING, 1.0])
PREPARATION = Preparation(SPACING)


class Phantom(Slices):
    """Generated patients of 12 slices of 48 x 48 pixels (4 mm, 8 mm between slices).

    The unlabelled patients are always the same, those of another hospital; each seed draws anew who of the others is
    labelled, for validation or for testing.

    Arguments:
        setting: `positive`: FLAIR, T1 and T2 show the patient. `null`: they show some other patient, and so say nothing
            of the label. `harm`: those of the unlabelled patients show oedema in one place too many.
        world: seed of everything that is generated.
        labelled, unlabelled, valid, test: numbers of patients.
        target, crop, flip, intensity: see `Slices`.
    """

    name = "medical/phantom"
    card = "phantom"

    def __init__(
        self,
        *,
        setting: Setting = "positive",
        world: NonNegativeInt = 0,
        labelled: PositiveInt = 3,
        unlabelled: NonNegativeInt = 17,
        valid: PositiveInt = 4,
        test: PositiveInt = 16,
        target: Target = "tissues",
        crop: Size = (),
        flip: Share = 0.5,
        intensity: Share = 0.1,
    ) -> None:
        own = labelled + valid + test
        heads = [draw(world, number, setting, elsewhere=number >= own) for number in range(own + unlabelled)]
        super().__init__(
            [_prepared(f"phantom {number}", drawn) for number, drawn in enumerate(heads)],
            Parts(labelled, unlabelled, valid, test),
            spacing=PREPARATION.slice_spacing,
            preparation=PREPARATION,
            target=target,
            crop=crop,
            flip=flip,
            intensity=intensity,
        )
        self._own = own

    def order(self, seed: int) -> list[int]:
        own = np.random.default_rng(seed).permutation(self._own).tolist()
        return [*own, *range(self._own, len(self.patients))]


def draw(world: int, number: int, setting: Setting = "positive", *, elsewhere: bool = False) -> Head:
    """Patient `number` of a world, bit-equal wherever it is drawn.

    Arguments:
        elsewhere: whether the patient is of the hospital whose FLAIR, T1 and T2 mislead in the setting `harm`.
    """
    drawn = head(np.random.default_rng([world, number]), Knobs(), sham=setting == "harm" and elsewhere)
    if setting != "null":
        return drawn
    other = head(np.random.default_rng([world, number, 1]), Knobs())
    return Head({**other.sequences, "t1ce": drawn.sequences["t1ce"]}, drawn.label)


def write(folder: Path, patients: int, *, world: int = 0, setting: Setting = "positive") -> list[Path]:
    """Write patients as a folder in BraTS's naming: `patient_000/patient_000_flair.nii.gz`, ..., `_seg.nii.gz`.

    Labels have BraTS's values: 1 core, 2 oedema, 4 enhancing.

    Returns:
        The patients' folders.
    """
    made = []
    for number in range(patients):
        drawn, name = draw(world, number, setting), f"patient_{number:03d}"
        made.append(folder / name)
        made[-1].mkdir(parents=True, exist_ok=True)
        for sequence in SEQUENCES:
            write_atomic(made[-1] / f"{name}_{sequence}.nii.gz", to_bytes(drawn.sequences[sequence], AFFINE))
        values = np.array([0, 1, 2, 4], np.uint8)[drawn.label]
        write_atomic(made[-1] / f"{name}_seg.nii.gz", to_bytes(values, AFFINE))
    return made


def _prepared(name: str, drawn: Head) -> Patient:
    images = {sequence: PREPARATION.image(scan, AFFINE) for sequence, scan in drawn.sequences.items()}
    return Patient(name, images, PREPARATION.label(drawn.label, AFFINE))
