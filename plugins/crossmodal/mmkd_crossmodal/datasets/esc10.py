"""`crossmodal/esc10`: 400 environmental sounds in 5 folds, with captions from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt

from mmkd.data import Split
from mmkd.data.root import VARIABLE, data_root, find
from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.datasets.captioned import Captioned
from mmkd_crossmodal.datasets.clips import few_labels
from mmkd_crossmodal.files.audio import fitted
from mmkd_crossmodal.files.esc10 import RATE, read_esc10
from mmkd_crossmodal.tokens import tokens

FILE = "esc10/esc10_ogg16k.tar"
FOLDS = 5
SECONDS = 5
CAPTIONS = (
    "the sound of a {name}",
    "a recording of a {name}",
    "{name}",
    "one can hear a {name}",
    "there is a {name} nearby",
    "a {name} outside",
)
PROMPTS = ("this is a sound of {name}", "{name} can be heard", "a clip of {name}")  # none of them is a caption
HIDDEN = "a sound"


class Esc10(Captioned):
    """ESC-10: 10 classes of 40 clips. Seed k tests on fold k + 1 and selects on the next; the other three train.

    Clips are 5 s: the middle of longer ones, shorter ones repeated. Captions are made of the class name, so they say
    nothing beside the label; every clip whose label is hidden in training has the caption "a sound" instead.

    Arguments:
        labels_per_class: labelled training clips of each class; the others are unlabelled. None: all.
        seconds: length of a clip.

    Raises:
        DataError: the data are absent or damaged.
    """

    name = "crossmodal/esc10"
    card = "esc10"

    def __init__(self, *, labels_per_class: PositiveInt | None = None, seconds: PositiveInt = SECONDS) -> None:
        place = find(FILE)
        if place is None:
            raise _absent(self.name)
        recorded = read_esc10(place)
        self.labels, self.folds, self.labels_per_class = recorded.labels, recorded.folds, labels_per_class
        random = np.random.default_rng(0)
        names = [recorded.classes[label] for label in recorded.labels]
        super().__init__(
            [fitted(wave, seconds * RATE) for wave in recorded.waves],
            RATE,
            [str(random.choice(CAPTIONS)).format(name=name) for name in names],
            recorded.labels,
            recorded.folds,
            "fold",
            recorded.classes,
            [[prompt.format(name=name) for prompt in PROMPTS] for name in recorded.classes],
            preparation={"seconds": seconds, "longer": "the middle", "shorter": "repeated"},
        )

    def split(self, seed: int) -> Split:
        if seed >= FOLDS:
            raise ConfigError(f"seed {seed}: there are {FOLDS} folds", f"seeds = {FOLDS}")
        testing, selecting = seed + 1, (seed + 1) % FOLDS + 1
        training = np.flatnonzero(~np.isin(self.folds, (testing, selecting)))
        order = np.random.default_rng(seed).random(len(self.labels))
        labelled, unlabelled = few_labels(training, self.labels, self.labels_per_class, order)
        valid, test = (torch.from_numpy(np.flatnonzero(self.folds == fold)) for fold in (selecting, testing))
        captions = self.samples["caption"].clone()
        captions[np.setdiff1d(np.arange(len(self)), labelled)] = tokens([HIDDEN])
        return Split(
            torch.from_numpy(labelled),
            torch.from_numpy(unlabelled),
            valid,
            {"test": test},
            folds=True,
            inputs={"caption": captions},
        )

    @classmethod
    def get(cls, **config: Any) -> list[Path]:
        """Nothing can be downloaded by a fixed address: says where the data are to be had. Raises `DataError`."""
        raise _absent(cls.name)


def _absent(name: str) -> DataError:
    return DataError(
        f"data set {name} is not on this machine",
        "get commit 553c8f1 of https://github.com/karoldvl/ESC-10, resample its clips to 16 kHz as the data card says, "
        f"and put them as {FILE} below the folder that {VARIABLE} names ({data_root()})",
    )
