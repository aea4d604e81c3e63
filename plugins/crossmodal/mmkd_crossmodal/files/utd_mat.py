"""UTD-MHAD as it was published: a `.mat` file per clip and sensor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError

Array = NDArray[Any]

JOINT_COUNT = 20
INERTIAL, SKELETON = "d_iner", "d_skel"
_NAME = re.compile(r"a(?P<action>\d+)_s(?P<subject>\d+)_t(?P<trial>\d+)_(?P<sensor>inertial|skeleton)\.mat")


@dataclass(frozen=True)
class Recordings:
    """Clips of both sensors, paired by (action, subject, trial) and sorted by it.

    Arguments:
        ids: action, subject and trial of each clip, counted from 1, `[N, 3]`.
        imus: `[T, 6]` each, g and deg/s.
        skeletons: `[T, 20, 3]` each, metres.
    """

    ids: NDArray[np.int64]
    imus: list[Array]
    skeletons: list[Array]


def read_folder(folder: Path) -> Recordings:
    """Read `Inertial/aX_sY_tZ_inertial.mat` and `Skeleton/aX_sY_tZ_skeleton.mat`.

    Raises:
        DataError: a folder is absent or empty, a clip has but one of the two, or a file is damaged or of another form.
    """
    inertial, skeleton = _listed(folder / "Inertial", "inertial"), _listed(folder / "Skeleton", "skeleton")
    if unpaired := sorted(set(inertial) ^ set(skeleton)):
        there = {**skeleton, **inertial}[unpaired[0]]
        lacking = "Skeleton" if unpaired[0] in inertial else "Inertial"
        more = f" (and {len(unpaired) - 1} clips more are unpaired)" if len(unpaired) > 1 else ""
        raise DataError(f"{there} has no partner in {folder / lacking}{more}", "get the missing files, or remove both")
    ids = sorted(inertial)
    return Recordings(
        np.array(ids, np.int64),
        [read_inertial(inertial[clip]) for clip in ids],
        [read_skeleton(skeleton[clip]) for clip in ids],
    )


def read_inertial(path: Path) -> Array:
    """`d_iner` of one file, `[T, 6]` float32: accelerometer in g, gyroscope in deg/s. Raises `DataError`."""
    values = _variable(path, INERTIAL)
    if values.ndim != 2 or values.shape[1] != 6:
        raise DataError(f"{path}: {INERTIAL} has shape {list(values.shape)} where [T, 6] is expected")
    return _checked(path, INERTIAL, values)


def read_skeleton(path: Path) -> Array:
    """`d_skel` of one file (20 joints, 3 coordinates, T frames) as `[T, 20, 3]` float32, metres. Raises `DataError`."""
    values = _variable(path, SKELETON)
    if values.ndim == 2 and values.shape == (JOINT_COUNT, 3):
        values = values[..., None]
    if values.ndim != 3 or values.shape[:2] != (JOINT_COUNT, 3):
        raise DataError(f"{path}: {SKELETON} has shape {list(values.shape)} where [20, 3, T] is expected")
    return _checked(path, SKELETON, values.transpose(2, 0, 1))


def _listed(folder: Path, sensor: str) -> dict[tuple[int, int, int], Path]:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "UTD-MHAD has Inertial and Skeleton side by side")
    found = {}
    for path in sorted(folder.glob("*.mat")):
        match = _NAME.fullmatch(path.name)
        if match is None or match["sensor"] != sensor:
            raise DataError(f"{path} is not named aX_sY_tZ_{sensor}.mat", "move it elsewhere")
        found[int(match["action"]), int(match["subject"]), int(match["trial"])] = path
    if not found:
        raise DataError(f"{folder} holds no .mat file")
    return found


def _variable(path: Path, name: str) -> Array:
    from scipy.io import loadmat, whosmat

    try:
        with path.open("rb") as file:
            held = [variable for variable, *_ in whosmat(file)]
        if name in held:
            with path.open("rb") as file:
                values: Array = loadmat(file, variable_names=[name])[name]
    except Exception as error:  # damaged bytes make scipy, zlib and struct raise some ten different ones
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path} cannot be read as a MATLAB file ({reason})", "get it again from its source") from error
    if name not in held:
        raise DataError(f"{path} holds no variable {name}", f"it holds {', '.join(held) or 'none'}")
    return values


def _checked(path: Path, name: str, values: Array) -> Array:
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: {name} is of type {values.dtype}, not of numbers")
    if not len(values):
        raise DataError(f"{path}: {name} is empty")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {name} holds NaN or infinite values")
    return np.ascontiguousarray(values, np.float32)
