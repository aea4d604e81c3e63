"""`crossmodal/mat`: a clip of UTD-MHAD's own files for `mmkd predict`. Needs scipy, and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError
from mmkd_crossmodal.files.utd_mat import read_inertial

GRAVITY = 9.80665


def read_mat(path: Path, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[np.float32]]:
    """One clip of a worn unit, `[1, 6, T]`, from the variable `d_iner` `[T, 6]`.

    Raises:
        DataError: the file is damaged, lacks the variable or holds NaN; the accelerometer is not in g; or the student
            reads something else than a unit's six channels.
    """
    if len(fields) != 1 or next(iter(fields.values()))["shape"][:1] != [6]:
        raise DataError(f"{path}: the student reads {', '.join(fields)}, and such a file holds one unit's six channels")
    values = read_inertial(path)
    check_gravity(path, values)
    return {next(iter(fields)): np.ascontiguousarray(values.T)[None]}


def check_gravity(path: Path, values: NDArray[np.float32]) -> None:
    """Raise `DataError` where the accelerometer is plainly not in g: gravity is about 1 in most of any clip."""
    strength = float(np.median(np.linalg.norm(values[:, :3], axis=1)))
    if not 0.3 < strength < 4:
        looks = " (m/s2?)" if abs(strength / GRAVITY - 1) < 0.5 else ""
        raise DataError(
            f"{path}: the accelerometer's median is {strength:.3g}{looks} where about 1 g is expected",
            "the channels are ax, ay, az in g and gx, gy, gz in deg/s",
        )
