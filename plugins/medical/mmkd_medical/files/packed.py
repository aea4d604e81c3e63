"""Packed slices: an `.npz` with `PATIENT_x` (all sequences), `PATIENT_y` (label) and `PATIENT_z` (place of a slice)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmkd.errors import DataError
from mmkd_medical.datasets.base import Patient
from mmkd_medical.preparation import standardised
from mmkd_medical.terms import CLASSES, SEQUENCES

_CLASS = np.array([0, CLASSES.index("core"), CLASSES.index("oedema"), CLASSES.index("enhancing")], np.uint8)


def read_packed(path: Path) -> Iterator[Patient]:
    """Patients of an `.npz` archive.

    `_x` is `[slices, sequences, H, W]`, uint8 with 0 in the air and sequences in the order of `terms.SEQUENCES`; `_y`
    is `[slices, H, W]`: 0 background, 1 core, 2 oedema, 3 enhancing; `_z` are rising numbers.

    Raises:
        DataError: naming file and key: damaged, a missing key, shapes that do not fit, an unknown label, slices out of
            order, a sequence that shows nothing, or one patient twice.
    """
    try:
        # Opened here: numpy leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}", "check that it is whole") from error
    patients = sorted({key.rpartition("_")[0] for key in arrays})
    seen: dict[bytes, str] = {}
    for patient in patients:
        if missing := [key for part in "xyz" if (key := f"{patient}_{part}") not in arrays]:
            raise DataError(f"{path} has no '{missing[0]}'", f"patient {patient} needs _x, _y and _z")
        x, y, z = (arrays[f"{patient}_{part}"] for part in "xyz")
        where = f"{path}, patient {patient}"
        _check(where, x, y, z)
        if (other := seen.setdefault(x.tobytes(), patient)) != patient:
            raise DataError(f"{where} holds the same slices as {other}", "one of the two is another patient's")
        try:
            images = {name: standardised(x[:, number].astype(np.float32)) for number, name in enumerate(SEQUENCES)}
        except DataError as error:
            raise DataError(f"{where}: {error.cause}") from error
        yield Patient(patient, images, _CLASS[y])


def _check(where: str, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    if x.ndim != 4 or x.shape[1] != len(SEQUENCES) or not x.size:
        raise DataError(f"{where}: _x has shape {list(x.shape)} where [slices, {len(SEQUENCES)}, H, W] is expected")
    if y.shape != (len(x), *x.shape[2:]) or z.shape != (len(x),):
        raise DataError(
            f"{where}: _y has shape {list(y.shape)} and _z {list(z.shape)}, which do not fit _x {list(x.shape)}"
        )
    if x.dtype != np.uint8 or y.dtype.kind not in "iu":
        raise DataError(f"{where}: _x is of type {x.dtype} and _y of {y.dtype} where uint8 is expected")
    if y.min() < 0 or y.max() >= len(_CLASS):
        raise DataError(f"{where}: _y holds the label {int(y.max())}, and known are 0 to {len(_CLASS) - 1}")
    if (np.diff(z.astype(np.int64)) <= 0).any():
        raise DataError(f"{where}: the slices of _z do not rise", "sort them from below to above")
