"""`crossmodal/driving`: roads with cars, seen by a camera and a LiDAR. Generated: no download."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from mmkd.data import Split
from mmkd.errors import ConfigError
from mmkd_crossmodal.datasets.frames import Frames
from mmkd_crossmodal.driving.generate import generate_drive
from mmkd_crossmodal.driving.settings import from_picture, mixed_up
from mmkd_crossmodal.files.kitti import Frame, read_frame, write_frame

TEST_SHARE, VALID_SHARE = 0.25, 0.1
Setting = Literal["positive", "null", "harm"]


class Driving(Frames):
    """Generated drives. Every frame is written to KITTI's files and read back by their reader.

    The seed deals the drives out: a quarter tests, a tenth selects, and of the others some have labels while the rest
    are unlabelled pairs. All frames of a drive stay together.

    Arguments:
        setting: `positive`: the LiDAR measures what the picture half tells. `null`: the scan is made of the picture, so
            that it says nothing more. `harm`: odd-numbered drives have the scan of another; they are dealt last, so
            that it is the unlabelled pairs that mislead.
        world: seed of everything that is generated.
        drives: how many.
        frames: of each drive.
        labelled_drives: training drives with labels; None: all.
        beams: of the LiDAR.
        azimuth_step: degrees between its columns.
        night: the camera has little light.
        miscalibration: degrees between written and true calibration, and 5 cm per degree.
    """

    name = "crossmodal/driving"
    card = "driving"

    def __init__(
        self,
        *,
        setting: Setting = "positive",
        world: NonNegativeInt = 0,
        drives: PositiveInt = 240,
        frames: PositiveInt = 3,
        labelled_drives: PositiveInt | None = 64,
        beams: PositiveInt = 64,
        azimuth_step: PositiveFloat = 0.2,
        night: bool = False,
        miscalibration: NonNegativeFloat = 0.0,
    ) -> None:
        if drives < 4:
            raise ConfigError(f"drives = {drives}: training, selection and testing need some each", "at least 4")
        if beams < 2:
            raise ConfigError(f"beams = {beams}: a scan needs at least 2")
        self.drives, self.labelled_drives, self.setting = drives, labelled_drives, setting
        made = _generated(world, drives, frames, beams, azimuth_step, night, miscalibration)
        if setting == "harm":
            made = mixed_up(made)
        if setting == "null":
            random = np.random.default_rng([world, 1])
            made = [[from_picture(frame, random) for frame in drive] for drive in made]
        of_frame = [number for number, drive in enumerate(made) for _ in drive]
        super().__init__((frame for drive in made for frame in drive), of_frame)

    def split(self, seed: int) -> Split:
        order = np.random.default_rng(seed).permutation(self.drives)
        if self.setting == "harm":
            order = order[np.argsort(order % 2, kind="stable")]
        test = max(1, round(TEST_SHARE * self.drives))
        valid = test + max(1, round(VALID_SHARE * self.drives))
        labelled = self.drives if self.labelled_drives is None else min(valid + self.labelled_drives, self.drives)
        parts = [self._rows(part) for part in np.split(order, [test, valid, labelled])]
        return Split(parts[2], parts[3], parts[1], {"test": parts[0]})

    def _rows(self, drives: np.ndarray) -> torch.Tensor:
        assert self.groups is not None
        return torch.isin(self.groups, torch.from_numpy(drives)).nonzero()[:, 0]


@lru_cache(maxsize=1)
def _generated(
    world: int, drives: int, frames: int, beams: int, step: float, night: bool, miscalibration: float
) -> list[list[Frame]]:
    """All drives, through files."""
    made = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(drives):
            drive = generate_drive(
                world, number, frames, beams=beams, azimuth_step=step, night=night, miscalibration=miscalibration
            )
            for frame in drive:
                write_frame(folder, "000000", frame)
                made.append(read_frame(folder, "000000"))
    return [made[start : start + frames] for start in range(0, len(made), frames)]
