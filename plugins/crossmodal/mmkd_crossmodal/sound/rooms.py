"""Rooms: how they answer a sound, what is heard in them all the time, and how their things sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from mmkd_crossmodal.sound.events import EVENTS, RATE, Array, Random, band

BACKGROUNDS = ("rain", "wind", "hum", "traffic")


@dataclass(frozen=True)
class Room:
    """What stays the same in all clips of one room.

    Arguments:
        response: impulse response, `[R]`, direct sound first with height 1.
        background: one of `BACKGROUNDS`.
        pitches: of the things that sound, in octave-like units around 0.
    """

    response: Array
    background: str
    pitches: dict[str, float]


def draw_room(random: Random) -> Room:
    """A room of reverberation time 0.15 to 0.7 s, with things of its own."""
    reverberation = random.uniform(0.15, 0.7)
    time = np.arange(round(0.6 * reverberation * RATE)) / RATE
    tail = random.normal(size=len(time)) * 10 ** (-3 * time / reverberation)  # -60 dB after the reverberation time
    tail[: round(0.004 * RATE)] = 0  # the first reflection has gone more than a metre further
    direct = 10 ** (random.uniform(-2, 10) / 20)  # direct sound to reverberation
    response = tail / np.linalg.norm(tail) / direct
    response[0] = 1.0
    pitches = {name: float(random.uniform(-0.35, 0.35)) for name in EVENTS}
    return Room(response, str(random.choice(BACKGROUNDS)), pitches)


def background(kind: str, length: int, random: Random) -> Array:
    """Stationary noise of one kind, root mean square 1, `[length]`."""
    noise = random.normal(size=length + RATE // 4)
    time = np.arange(len(noise)) / RATE
    if kind == "rain":
        drops = (random.random(len(noise)) < 0.01) * random.exponential(6, len(noise))
        wave = band(noise + drops * noise, 900, 3700)
    elif kind == "wind":
        gusts = 1 + 0.6 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time + random.uniform(0, 6.28))
        wave = lfilter([1.0], [1, -0.97], noise) * gusts
    elif kind == "hum":
        tones = [np.sin(2 * np.pi * 50 * k * time + random.uniform(0, 6.28)) / k for k in (1, 2, 3, 4, 6, 8, 12)]
        wave = np.sum(tones, 0) + 0.2 * noise
    else:
        wave = lfilter([1.0], [1, -0.85], noise) + 0.5 * band(noise, 60, 400)
    wave = wave[-length:]
    return wave / np.sqrt(np.mean(wave**2))
