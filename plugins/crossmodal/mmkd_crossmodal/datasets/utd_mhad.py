"""`crossmodal/utd-mhad`: 27 actions of 8 people, seen by a Kinect and felt by one worn unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveInt

from mmkd.data import Split
from mmkd.data.root import VARIABLE, data_root, find
from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.datasets.clips import Array, Clips, few_labels
from mmkd_crossmodal.files.utd_mat import Recordings, read_folder
from mmkd_crossmodal.files.utd_packed import read_packed

FOLDER = "utd_mhad"
TRAINING = (1, 3, 5, 7)  # subjects of the published cross-subject test train if odd
CLASSES = (
    *("swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot", "draw x"),
    *("draw circle clockwise", "draw circle counter clockwise", "draw triangle", "bowling", "boxing"),
    *("baseball swing", "tennis swing", "arm curl", "tennis serve", "push", "knock", "catch", "pickup and throw"),
    *("jog", "walk", "sit to stand", "stand to sit", "lunge", "squat"),
)

Protocol = Literal["cross-subject", "leave-one-subject-out"]


class UtdMhad(Clips):
    """UTD-MHAD: 861 clips, unit on the right wrist (actions 1 to 21) or the right thigh (22 to 27).

    Read from `utd_mhad` below the data root: the packed arrays `inertial.npz` and `skeleton.npz`, or the published
    folders `Inertial` and `Skeleton`. Subjects never straddle parts.

    Arguments:
        protocol: `cross-subject`: odd subjects train, even ones test, as published; one odd subject, drawn by the seed,
            selects instead. `leave-one-subject-out`: seed k tests on subject k + 1 and selects on the next; seeds are
            the 8 folds.
        validation: False trains on the selecting subject too, as the published test does; then nothing can be selected.
        labels_per_class: labelled training clips of each action; the others are unlabelled pairs. None: all.
        words: file of word vectors for the class names.
    """

    name = "crossmodal/utd-mhad"
    card = "utd-mhad"

    def __init__(
        self,
        *,
        protocol: Protocol = "cross-subject",
        validation: bool = True,
        labels_per_class: PositiveInt | None = None,
        words: str | None = None,
    ) -> None:
        recorded = recordings()
        self.protocol, self.validation, self.labels_per_class = protocol, validation, labels_per_class
        self.labels, self.subjects = recorded.ids[:, 0] - 1, recorded.ids[:, 1]
        if self.labels.max() >= len(CLASSES):
            raise DataError(f"{data_root() / FOLDER} holds an action {self.labels.max() + 1}; UTD-MHAD has 27")
        super().__init__(recorded.skeletons, recorded.imus, self.labels, self.subjects, CLASSES, words=words)

    def split(self, seed: int) -> Split:
        random = np.random.default_rng(seed)
        people = np.unique(self.subjects)
        if self.protocol == "leave-one-subject-out":
            if seed >= len(people):
                raise ConfigError(f"seed {seed}: there are {len(people)} subjects", f"seeds = {len(people)}")
            testing, selecting = people[[seed]], people[[(seed + 1) % len(people)]]
        else:
            testing = np.setdiff1d(people, TRAINING)
            selecting = random.choice(np.intersect1d(people, TRAINING), 1)
        selecting = selecting if self.validation else selecting[:0]
        training = np.setdiff1d(people, np.concatenate([testing, selecting]))
        rows, valid, test = (self._of(who) for who in (training, selecting, testing))
        labelled, unlabelled = few_labels(rows, self.labels, self.labels_per_class, random.random(len(self.labels)))
        parts = map(torch.from_numpy, (labelled, unlabelled, valid))
        return Split(*parts, {"test": torch.from_numpy(test)}, folds=self.protocol == "leave-one-subject-out")

    def _of(self, people: Array) -> Array:
        return np.flatnonzero(np.isin(self.subjects, people))

    @classmethod
    def get(cls, **config: Any) -> list[Path]:
        """Nothing can be downloaded by a fixed address: says where the data are to be had. Raises `DataError`."""
        raise _absent(cls.name)


def recordings() -> Recordings:
    """Every clip of the data root, in whichever layout is there. Raises `DataError`."""
    if find(f"{FOLDER}/inertial.npz"):
        return read_packed(data_root() / FOLDER / "inertial.npz", data_root() / FOLDER / "skeleton.npz")
    if folder := find(f"{FOLDER}/Inertial"):
        return read_folder(folder.parent)
    raise _absent(UtdMhad.name)


def _absent(name: str) -> DataError:
    return DataError(
        f"data set {name} is not on this machine",
        "get the folders Inertial and Skeleton from https://www.utdallas.edu/~kehtar/UTD-MHAD.html and put them into "
        f"{FOLDER} below the folder that {VARIABLE} names",
    )
