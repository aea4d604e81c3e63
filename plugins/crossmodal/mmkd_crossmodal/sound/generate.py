"""Clips from scene graphs: two events in a room over a background, and the caption of the same graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from mmkd_crossmodal.sound.captions import Caption, describe
from mmkd_crossmodal.sound.events import EVENTS, RATE
from mmkd_crossmodal.sound.rooms import background, draw_room

SECONDS = 1.28
PAIRS = tuple((first, second) for first in EVENTS for second in EVENTS if first != second)
SNR = (3.0, 18.0)  # dB, a sound at full loudness against the background; each is 0 to 6 dB below that
GAP = (0.15, 0.5)  # seconds between the onsets; sounds last up to 0.45 s, so many overlap
VAGUE = 0.1  # captions that do not say the order


@dataclass(frozen=True)
class Scene:
    """One clip.

    Arguments:
        pair: position in `PAIRS`: which event came first and which second.
        room: whose clip it is: the independent unit.
        take: its number among the room's clips of that pair.
        wave: int16 PCM at `RATE`, `[T]`.
        caption: what was said of it.
    """

    pair: int
    room: int
    take: int
    wave: NDArray[np.int16]
    caption: Caption


def generate(world: int, rooms: int, takes: int) -> list[Scene]:
    """Every pair of events `takes` times in each room; room by room, reproducible and independent of their number."""
    scenes = []
    for number in range(rooms):
        random = np.random.default_rng([world, number])
        room = draw_room(random)
        length = round(SECONDS * RATE)
        for pair, kinds in enumerate(PAIRS):
            for take in range(takes):
                wave = np.zeros(length)
                onset = random.uniform(0.02, 0.25)
                for kind, loudness in zip(kinds, 10 ** (random.uniform(-6, 0, 2) / 20), strict=True):
                    sound = fftconvolve(EVENTS[kind](room.pitches[kind], random), room.response)
                    start = round(onset * RATE)
                    heard = sound[: length - start]
                    wave[start : start + len(heard)] += loudness * heard
                    onset += random.uniform(*GAP)
                wave += background(room.background, length, random) / 10 ** (random.uniform(*SNR) / 20)
                gain = 10 ** (random.uniform(-38, -24) / 20) / np.sqrt(np.mean(wave**2))
                pcm = np.clip(np.rint(wave * gain * 32768), -32768, 32767).astype(np.int16)
                caption = describe(*kinds, room.background, random, vague=VAGUE)
                scenes.append(Scene(pair, number, take, pcm, caption))
    return scenes
