"""Random transforms of training slices, by MONAI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai import transforms
from monai.data import get_track_meta, set_track_meta
from torch import Tensor


class Augmentation:
    """A random crop, flips, and small changes of each sequence's contrast and brightness.

    The crop is uniform. One that looks for the lesion (`RandCropByPosNegLabel`) would read the labels of slices whose
    labels are hidden.

    Arguments:
        sequences: names of the image fields.
        label: name of the label field, transformed in space alone.
        crop: rows and columns of the crop; none: whole slices.
        flip: probability of a flip along each axis of the slice.
        intensity: largest relative change of contrast, and a third of it, of brightness.
    """

    def __init__(
        self, sequences: Sequence[str], label: str, *, crop: Sequence[int], flip: float, intensity: float
    ) -> None:
        self.sequences, self.label = list(sequences), label
        in_space: list[transforms.Transform] = []
        if crop:
            in_space += [transforms.SpatialPad(crop), transforms.RandSpatialCrop(crop, random_size=False)]
        if flip:
            in_space += [transforms.RandFlip(flip, axis) for axis in (0, 1)]
        of_values: list[transforms.Transform] = []
        if intensity:
            of_values += [
                transforms.RandScaleIntensity(intensity, prob=1.0, channel_wise=True),
                transforms.RandShiftIntensity(intensity / 3, prob=1.0, channel_wise=True),
            ]
        self.in_space, self.of_values = in_space, of_values
        self.is_random = bool(in_space or of_values)

    def __call__(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The transformed sample `{sequence: [1, H, W], label: [H, W]}`; a function of the generator's state."""
        joined = torch.cat([*(sample[name] for name in self.sequences), sample[self.label][None].float()])
        state = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
        with _plain_tensors():
            for step in (*self.in_space, *self.of_values):
                if isinstance(step, transforms.Randomizable):
                    step.set_random_state(state=state)
            moved = _applied(self.in_space, joined)
            images = _applied(self.of_values, moved[:-1])
        return {**dict(zip(self.sequences, images.split(1), strict=True)), self.label: moved[-1].long()}


def _applied(steps: Sequence[transforms.Transform], image: Tensor) -> Tensor:
    # Not through MONAI's `Compose`, which makes a random stream for every step: most of the time went there.
    for step in steps:
        image = step(image)
    return image


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """MONAI attaches no metadata, which would follow a tensor into the network and costs more than the transform."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
