"""`crossmodal/sound-scenes`: two sounds after each other in a room, and what somebody said of them. Generated."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from mmkd.data import Field, Split
from mmkd.errors import ConfigError
from mmkd_crossmodal.datasets.captioned import Captioned
from mmkd_crossmodal.datasets.clips import few_labels
from mmkd_crossmodal.sound.captions import Caption, meter_reading, prompts
from mmkd_crossmodal.sound.events import RATE
from mmkd_crossmodal.sound.generate import PAIRS, Scene, generate
from mmkd_crossmodal.tokens import tokens

TRAIN_SHARE, VALID_SHARE = 0.5, 0.125
Setting = Literal["positive", "null", "harm"]


class SoundScenes(Captioned):
    """12 ordered pairs of 4 kinds of sound, in rooms over backgrounds. Test, validation and training rooms differ.

    Half of the rooms train, an eighth selects and the rest tests; each seed draws them anew. Beside the fields of
    `Captioned` there are `negative` `[L]`, the caption with its events swapped; `ordered`, whether the caption says an
    order; and the constant `swapped` `[K]`, the class of the other order.

    Arguments:
        setting: `positive`: captions name both sounds and mostly their order. `null`: captions are a meter's readings
            of the clip, so that they say nothing of the label given the audio. `harm`: from the second take on captions
            say the other order; labelled clips are first takes as long as these last.
        world: seed of everything that is generated.
        rooms: how many.
        takes: clips of each class and room.
        labels_per_class: labelled training clips of each class; the others are unlabelled pairs. None: all.
    """

    name = "crossmodal/sound-scenes"
    card = "sound-scenes"

    def __init__(
        self,
        *,
        setting: Setting = "positive",
        world: NonNegativeInt = 0,
        rooms: PositiveInt = 64,
        takes: PositiveInt = 2,
        labels_per_class: PositiveInt | None = 4,
    ) -> None:
        if rooms < 3:
            raise ConfigError(f"rooms = {rooms}: training, selection and testing need one each", "at least 3")
        scenes = _generated(world, rooms, takes)
        self.scenes, self.labels_per_class = scenes, labels_per_class
        self.labels, self.rooms, self.takes = (
            np.array([getattr(scene, name) for scene in scenes]) for name in ("pair", "room", "take")
        )
        captions = [_caption(setting, scene) for scene in scenes]
        self.captions = [caption.text for caption in captions]
        negatives = tokens([caption.swapped for caption in captions])
        ordered = torch.tensor([caption.ordered for caption in captions])
        swapped = torch.tensor([PAIRS.index((second, first)) for first, second in PAIRS])
        super().__init__(
            [scene.wave for scene in scenes],
            RATE,
            self.captions,
            self.labels,
            self.rooms,
            "room",
            [f"{first} then {second}" for first, second in PAIRS],
            [prompts(*pair) for pair in PAIRS],
            samples={
                "negative": (Field(tuple(negatives.shape[1:]), "int64"), negatives),
                "ordered": (Field((), "bool"), ordered),
            },
            constants={"swapped": (Field(tuple(swapped.shape), "int64", kind="constant"), swapped)},
        )

    def split(self, seed: int) -> Split:
        random = np.random.default_rng(seed)
        rooms = random.permutation(self.rooms.max() + 1)
        valid = max(1, round(VALID_SHARE * len(rooms)))
        train = min(max(1, round(TRAIN_SHARE * len(rooms))), len(rooms) - valid - 1)
        rows = [np.flatnonzero(np.isin(self.rooms, part)) for part in np.split(rooms, [train, train + valid])]
        order = self.takes + random.random(len(self.takes))
        labelled, unlabelled = few_labels(rows[0], self.labels, self.labels_per_class, order)
        selecting, testing = (torch.from_numpy(part) for part in rows[1:])
        return Split(torch.from_numpy(labelled), torch.from_numpy(unlabelled), selecting, {"test": testing})


@lru_cache(maxsize=1)
def _generated(world: int, rooms: int, takes: int) -> list[Scene]:
    return generate(world, rooms, takes)


def _caption(setting: Setting, scene: Scene) -> Caption:
    said = scene.caption
    if setting == "null":
        reading = meter_reading(scene.wave)
        return Caption(reading, reading, False)
    if setting == "harm" and scene.take > 0:
        return Caption(said.swapped, said.text, said.ordered)
    return said
