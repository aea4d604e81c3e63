"""What the motion data sets share: clips of a skeleton and a worn unit, padded; class names as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkd.data import Dataset, Field
from mmkd_crossmodal.motion.body import JOINTS
from mmkd_crossmodal.motion.sensors import IMU_RATE, SKELETON_RATE
from mmkd_crossmodal.words import class_vectors

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Array = NDArray[Any]

IMU_CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")
# The unit's 8 g and 1,000 deg/s with what its conversion adds: a hanging arm's 9.8 m/s2 is out of range.
LIMITS = (8.1, 8.1, 8.1, 1001.0, 1001.0, 1001.0)
HIP_CENTER = 3
INSTANTS = 5  # of a clip that are drawn
LIMBS = (
    ("head", "shoulder_center", "spine", "hip_center"),
    *(("shoulder_center", *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hand"))) for side in "lr"),
    *(("hip_center", *(f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "foot"))) for side in "lr"),
)


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
                range=(tuple(-limit for limit in LIMITS), LIMITS),
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

    def draw(self, row: int, figure: FigureBase) -> str:
        """The skeleton at some instants, seen from the camera, and what the unit reads."""
        skeleton, unit = (self.samples[name][row].cpu().numpy() for name in ("skeleton", "imu"))
        frames = skeleton[:, : _length(skeleton)].T.reshape(-1, len(JOINTS), 3)
        above, below = figure.subfigures(2, 1, height_ratios=[1.1, 1])
        body = above.subplots()
        for number, frame in enumerate(frames[np.linspace(0, len(frames) - 1, INSTANTS).astype(int)]):
            for limb in LIMBS:
                joints = frame[[JOINTS.index(name) for name in limb]]
                worn = "r_wrist" in limb
                colour = "#d55e00" if worn else "#3b4248"
                body.plot(joints[:, 0] + number * 1.3, joints[:, 1], color=colour, linewidth=1.4 if worn else 0.9)
        body.set(aspect="equal", title="skeleton, m; the unit's arm in orange")
        body.title.set_fontsize(6)
        body.axis("off")
        used = unit[:, : _length(unit)]
        time = np.arange(used.shape[1]) / IMU_RATE
        for axes, lines, name in zip(
            below.subplots(1, 2), (used[:3], used[3:]), ("acc, g", "gyro, deg/s"), strict=True
        ):
            axes.plot(time, lines.T, linewidth=0.8)
            axes.set_title(f"{name}; time in s", fontsize=6, loc="left", pad=2)
            axes.tick_params(labelsize=6)
        return "a skeleton and the readings of a unit at the wrist"


def _length(series: Array) -> int:
    """Instants of a series `[C, T]` before the zeros behind it."""
    used = np.flatnonzero(np.abs(series).sum(0))
    return int(used[-1]) + 1 if len(used) else series.shape[1]


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
