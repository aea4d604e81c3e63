"""`crossmodal/kitti`: consecutive frames of one real drive, with camera, LiDAR and 3D boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt

from mmkd.data import Split
from mmkd.data.root import VARIABLE, data_root, find
from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.datasets.frames import Frames
from mmkd_crossmodal.files.kitti import CLASSES, read_sequence
from mmkd_crossmodal.files.kitti_packed import read_drive

PACKED = "kitti_drive0005"
PUBLISHED = "kitti_tracking/training"
SEQUENCE = "0000"  # the same drive, as the tracking benchmark numbers it
TRAIN_SHARE, VALID_SHARE, GAP = 0.62, 0.1, 5  # shares of the frames, and frames between two parts


class Kitti(Frames):
    """One street: 2011_09_26_drive_0005, 154 frames at 10 Hz.

    Read from below the data root: `kitti_drive0005`, packed, or `kitti_tracking/training`, as published. Parts are
    contiguous blocks in the order of time with a gap between them, since neighbouring frames are nearly alike: the
    first frames have labels, the next are unlabelled pairs, then come validation and test. All is one drive, hence one
    independent unit: figures, and no verdict.

    Arguments:
        labelled: labelled training frames.
        classes: what counts as an object; others are background. Most vehicles of this street are vans.
    """

    name = "crossmodal/kitti"
    card = "kitti"

    def __init__(self, *, labelled: PositiveInt = 48, classes: tuple[str, ...] = ("Car", "Van")) -> None:
        if unknown := [kind for kind in classes if kind not in CLASSES]:
            raise ConfigError(f"classes: KITTI has no class '{unknown[0]}'", f"known: {', '.join(CLASSES)}")
        if folder := find(PACKED):
            frames = read_drive(folder)
        elif folder := find(f"{PUBLISHED}/image_02/{SEQUENCE}"):
            frames = list(read_sequence(folder.parents[1], SEQUENCE))
        else:
            raise _absent(self.name)
        super().__init__(frames, [0] * len(frames), classes=classes)
        self.labelled = labelled

    def split(self, seed: int) -> Split:
        train, valid = round(TRAIN_SHARE * len(self)), round(VALID_SHARE * len(self))
        if self.labelled > train:
            raise ConfigError(f"labelled = {self.labelled}: there are {train} training frames", "choose fewer")
        rows = torch.arange(len(self))
        selecting = rows[train + GAP : train + GAP + valid]
        return Split(
            rows[: self.labelled], rows[self.labelled : train], selecting, {"test": rows[train + valid + 2 * GAP :]}
        )

    @classmethod
    def get(cls, **config: Any) -> list[Path]:
        """Nothing can be downloaded without registration: says where the data are to be had. Raises `DataError`."""
        raise _absent(cls.name)


def _absent(name: str) -> DataError:
    return DataError(
        f"data set {name} is not on this machine ({data_root()})",
        "get image_02, velodyne, calib and label_02 of the tracking benchmark from "
        f"https://www.cvlibs.net/datasets/kitti and put them into {PUBLISHED} below the folder that {VARIABLE} names",
    )
