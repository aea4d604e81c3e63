"""What the motion data sets share: clips of a skeleton and a worn unit, padded; class names as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkd.data import Dataset, Field
from mmkd_crossmodal.motion.sensors import IMU_RATE, SKELETON_RATE
from mmkd_crossmodal.words import class_vectors

Array = NDArray[Any]

IMU_CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")
ROTATION_LIMIT = 1001.0  # the unit's 1,000 deg/s and what its conversion adds
HIP_CENTER = 3


class Clips(Dataset):
    """Clips of one action each.

    Fields, all padded with zeros to the longest clip (a real reading is never 0 in every channel at once):

    - `skeleton` `[60, T]`: x, y and z of 20 joints in metres, joint by joint, at 30 Hz, in the camera's frame relative
      to the hip centre of the clip's first frame: where a person stands says nothing, and how they move remains;
    - `imu` `[6, T]`: accelerometer in g and gyroscope in deg/s as read, at 50 Hz;
    - `label`, and the constant `class_words` `[K, D]`: a unit vector per class name.

    Arguments:
        skeletons: `[T, 20, 3]` each, metres, camera's frame.
        imus: `[T, 6]` each.
        labels: class of each clip.
        subjects: who performs it: the independent unit.
        classes: their names.
        words: file of word vectors for `class_words`; hashed character n-grams without.
    """

    def __init__(
        self,
        skeletons: Sequence[Array],
        imus: Sequence[Array],
        labels: Array,
        subjects: Array,
        classes: Sequence[str],
        *,
        words: str | None = None,
    ) -> None:
        vectors = class_vectors(classes, file=words)
        centred = [(frames - frames[0, HIP_CENTER]).reshape(len(frames), -1) for frames in skeletons]
        fields = {
            "skeleton": Field((centred[0].shape[1], None), layout="series", unit="m", rate=SKELETON_RATE),
            "imu": Field(
                (len(IMU_CHANNELS), None),
                layout="series",
                unit="g, deg/s",
                rate=IMU_RATE,
                range=(-ROTATION_LIMIT, ROTATION_LIMIT),
                channels=IMU_CHANNELS,
            ),
            "label": Field((), "int64", target=True, classes=tuple(classes)),
            "class_words": Field(vectors.shape, layout="vector", kind="constant"),
        }
        super().__init__(
            fields,
            {"skeleton": padded(centred), "imu": padded(imus), "label": torch.from_numpy(labels.astype(np.int64))},
            constants={"class_words": torch.from_numpy(vectors)},
            groups=torch.from_numpy(subjects.astype(np.int64)),
            unit="subject",
        )


def padded(series: Sequence[Array]) -> Tensor:
    """Series `[T, C]` of any lengths as `[N, C, longest]`, zeros behind each."""
    whole = np.zeros((len(series), series[0].shape[1], max(map(len, series))), np.float32)
    for row, values in zip(whole, series, strict=True):
        row[:, : len(values)] = values.T
    return torch.from_numpy(whole)


def few_labels(rows: Array, labels: Array, per_class: int | None, order: Array) -> tuple[Array, Array]:
    """Part training rows into labelled and unlabelled ones.

    Arguments:
        rows: training rows, `[R]`.
        labels: class of every row of the data set.
        per_class: labelled rows of each class; None: all.
        order: rank of every row of the data set: lower ones are labelled first.

    Returns:
        Labelled and unlabelled rows, each sorted.
    """
    if per_class is None:
        return np.sort(rows), rows[:0]
    ranked = rows[np.argsort(order[rows], kind="stable")]
    chosen = np.concatenate([ranked[labels[ranked] == kind][:per_class] for kind in np.unique(labels[rows])])
    return np.sort(chosen), np.setdiff1d(rows, chosen)
