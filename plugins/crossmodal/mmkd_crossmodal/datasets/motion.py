"""`crossmodal/motion`: people who move, seen by a Kinect and felt by a watch. Generated: no download."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from mmkd.data import Split
from mmkd.errors import ConfigError
from mmkd_crossmodal.datasets.clips import Array, Clips, few_labels
from mmkd_crossmodal.motion.actions import ACTIONS
from mmkd_crossmodal.motion.generate import Clip, generate
from mmkd_crossmodal.motion.sensors import IMU_RATE, SKELETON_RATE

TRAIN_SHARE, VALID_SHARE = 0.5, 0.125
Setting = Literal["positive", "null", "harm"]


class Motion(Clips):
    """15 actions; skeleton and wrist unit see the same pose. Test, validation and training subjects are disjoint.

    Half of the subjects train, an eighth selects and the rest tests; each seed draws them anew.

    Arguments:
        setting: `positive`: the skeleton shows limbs that the wrist does not feel. `null`: the skeleton is a standing
            body whose right arm is displaced by the unit's own readings, so that it says nothing of the label given the
            unit. `harm`: from the second trial on each skeleton is of another action, as if two recordings had been
            mixed up; labelled clips are first trials as long as these last.
        world: seed of everything that is generated.
        subjects: how many people.
        trials: clips of each action and person.
        labels_per_class: labelled training clips of each class; the others are unlabelled pairs. None: all.
        words: file of word vectors for the class names.
    """

    name = "crossmodal/motion"
    card = "motion"

    def __init__(
        self,
        *,
        setting: Setting = "positive",
        world: NonNegativeInt = 0,
        subjects: PositiveInt = 16,
        trials: PositiveInt = 3,
        labels_per_class: PositiveInt | None = 4,
        words: str | None = None,
    ) -> None:
        if subjects < 3:
            raise ConfigError(f"subjects = {subjects}: training, selection and testing need one each", "at least 3")
        clips = _generated(world, subjects, trials)
        of_clip = [np.array([getattr(clip, name) for clip in clips]) for name in ("action", "subject", "trial")]
        self.labels, self.subjects, self.trials = of_clip
        self.labels_per_class = labels_per_class
        skeletons = {"positive": _own, "null": _felt, "harm": _mixed_up}[setting](clips, world)
        super().__init__(
            skeletons, [clip.imu for clip in clips], self.labels, self.subjects, tuple(ACTIONS), words=words
        )

    def split(self, seed: int) -> Split:
        random = np.random.default_rng(seed)
        people = random.permutation(self.subjects.max() + 1)
        valid = max(1, round(VALID_SHARE * len(people)))
        train = min(max(1, round(TRAIN_SHARE * len(people))), len(people) - valid - 1)
        rows = [np.flatnonzero(np.isin(self.subjects, part)) for part in np.split(people, [train, train + valid])]
        order = self.trials + random.random(len(self.trials))
        labelled, unlabelled = few_labels(rows[0], self.labels, self.labels_per_class, order)
        parts = map(torch.from_numpy, (labelled, unlabelled, rows[1]))
        return Split(*parts, {"test": torch.from_numpy(rows[2])})


@lru_cache(maxsize=1)
def _generated(world: int, subjects: int, trials: int) -> list[Clip]:
    return generate(world, subjects, trials)


def _own(clips: list[Clip], world: int) -> list[Array]:
    return [clip.skeleton for clip in clips]


def _felt(clips: list[Clip], world: int) -> list[Array]:
    """A skeleton made from the unit's readings and noise alone: right wrist and hand move with the six channels."""
    standing = clips[0].skeleton[0]
    seen = []
    for number, clip in enumerate(clips):
        random = np.random.default_rng([world, number, 1])
        instants = np.arange(len(clip.skeleton)) / SKELETON_RATE
        felt = np.stack([np.interp(instants, np.arange(len(clip.imu)) / IMU_RATE, row) for row in clip.imu.T], 1)
        frames = np.tile(standing, (len(instants), 1, 1)) + random.normal(0, 0.01, (len(instants), *standing.shape))
        frames[:, 10:12] += (felt * np.repeat([0.05, 0.0005], 3)).reshape(-1, 2, 3)
        seen.append(frames)
    return seen


def _mixed_up(clips: list[Clip], world: int) -> list[Array]:
    """From the second trial on, the skeleton of the same person's next action."""
    place = {(clip.subject, clip.action, clip.trial): clip.skeleton for clip in clips}
    return [place[clip.subject, (clip.action + (clip.trial > 0)) % len(ACTIONS), clip.trial].copy() for clip in clips]
