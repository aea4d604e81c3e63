"""The settings that take the LiDAR's knowledge away, or make it mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmkd_crossmodal.files.kitti import Frame

NEAREST, FARTHEST = 4.0, 60.0  # metres
STRIDE = 1  # pixels between the points that a picture is read at


def from_picture(frame: Frame, random: np.random.Generator) -> Frame:
    """The frame with a scan that is made of its own picture and noise: darker is nearer.

    Given the picture such a scan says nothing of the boxes.
    """
    height, width = frame.image.shape[:2]
    v, u = np.mgrid[:height:STRIDE, :width:STRIDE].reshape(2, -1)
    grey = frame.image[v, u].mean(1) / 255
    depth = NEAREST + (FARTHEST - NEAREST) * grey + random.normal(0, 0.1, len(grey))
    p2 = frame.calibration.p2
    rays = np.stack([u + 0.5, v + 0.5, np.ones_like(u)], 1)
    seen = (rays * depth[:, None] - p2[:, 3]) @ np.linalg.inv(p2[:, :3]).T
    points = np.concatenate([frame.calibration.to_velodyne(seen), grey[:, None]], 1)
    return replace(frame, points=points.astype(np.float32))


def mixed_up(drives: Sequence[Sequence[Frame]]) -> list[list[Frame]]:
    """Drives whose odd-numbered ones have the scans of the drive before, as if recordings had been mixed up."""
    mixed = [list(drive) for drive in drives]
    for number in range(1, len(drives), 2):
        mixed[number] = [
            replace(own, points=other.points) for own, other in zip(drives[number], drives[number - 1], strict=True)
        ]
    return mixed
