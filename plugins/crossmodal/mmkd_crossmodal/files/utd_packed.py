"""UTD-MHAD packed: one archive of arrays per sensor, clips one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError
from mmkd_crossmodal.files.utd_mat import JOINT_COUNT, Recordings

Array = NDArray[Any]
_KEYS = ("data", "length", "action_subject_trial")


def read_packed(inertial: Path, skeleton: Path) -> Recordings:
    """Read `inertial.npz` (`data` `[sum T, 6]`) and `skeleton.npz` (`data` `[sum T, 20, 3]`).

    Both have `length` `[N]` and `action_subject_trial` `[N, 3]`, in the same order.

    Raises:
        DataError: a file is damaged, of another layout, or contradicts itself or the other one.
    """
    imus, ids = _clips(inertial, (6,))
    skeletons, others = _clips(skeleton, (JOINT_COUNT, 3))
    if not np.array_equal(ids, others):
        count = f"{len(ids)} clips against {len(others)}" if len(ids) != len(others) else "in another order"
        raise DataError(f"{inertial} and {skeleton} hold different clips ({count})", "get both from the same source")
    order = np.lexsort(ids.T[::-1])
    return Recordings(ids[order], [imus[row] for row in order], [skeletons[row] for row in order])


def _clips(path: Path, shape: tuple[int, ...]) -> tuple[list[Array], NDArray[np.int64]]:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            held = {key: file[key] for key in _KEYS if key in file.files}
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise some ten different ones
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path} cannot be read as npz ({reason})", "get it again from its source") from error
    if missing := [key for key in _KEYS if key not in held]:
        raise DataError(f"{path} lacks the array {missing[0]}", f"a packed file has {', '.join(_KEYS)}")
    data, length, ids = (held[key] for key in _KEYS)
    if length.dtype.kind not in "iu" or ids.dtype.kind not in "iu" or data.dtype.kind != "f":
        raise DataError(
            f"{path}: types {data.dtype}, {length.dtype}, {ids.dtype} where float and integers are expected"
        )
    if data.shape[1:] != shape or length.ndim != 1 or ids.shape != (len(length), 3):
        shapes = f"data {list(data.shape)}, length {list(length.shape)}, action_subject_trial {list(ids.shape)}"
        raise DataError(f"{path} is of another layout: {shapes}", f"data is [sum of T, {', '.join(map(str, shape))}]")
    if not len(length) or length.min() < 1 or length.sum() != len(data):
        raise DataError(f"{path} contradicts itself: its lengths sum to {length.sum()}, and it has {len(data)} rows")
    if not np.isfinite(data).all():
        raise DataError(f"{path} holds NaN or infinite values")
    if len(np.unique(ids, axis=0)) < len(ids):
        raise DataError(f"{path} holds a clip twice")
    return np.split(data, np.cumsum(length)[:-1]), ids.astype(np.int64)
