"""Four kinds of sound, synthesised: two that ring (bell, whistle) and two that strike (clap, knock)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Random = np.random.Generator
RATE = 8000
PARTIALS = np.array([1.0, 2.0, 2.76, 3.76, 5.4])  # about those of a small bell: hum, prime and inharmonic ones
_LONGEST = 0.45  # seconds


def bell(pitch: float, random: Random) -> Array:
    """Inharmonic partials that die away, high ones sooner."""
    time = _time(_LONGEST)
    frequencies = 500 * 2 ** (1.2 * pitch) * PARTIALS
    heard = frequencies < 0.47 * RATE
    decay = random.uniform(5, 9) * (1 + 0.35 * np.arange(len(PARTIALS)))
    loudness = random.uniform(0.4, 1.0, len(PARTIALS)) / (1 + 0.3 * np.arange(len(PARTIALS)))
    waves = np.sin(2 * np.pi * frequencies[:, None] * time + random.uniform(0, 6.28, (len(PARTIALS), 1)))
    return _level((waves * (heard * loudness)[:, None] * np.exp(-decay[:, None] * time)).sum(0))


def whistle(pitch: float, random: Random) -> Array:
    """One gliding tone with breath around it."""
    time = _time(random.uniform(0.25, _LONGEST))
    start = 800 * 2 ** (1.2 * pitch)
    glide = 2 ** (random.uniform(-0.3, 0.6) * time / time[-1])
    vibrato = 1 + 0.015 * np.sin(2 * np.pi * random.uniform(4, 8) * time)
    tone = np.sin(2 * np.pi * np.cumsum(start * glide * vibrato) / RATE)
    breath = band(random.normal(size=len(time)), 0.7 * start, min(1.5 * start, 0.45 * RATE))
    return _level((tone + 0.25 * breath) * np.hanning(len(time)) ** 0.5)


def clap(pitch: float, random: Random) -> Array:
    """A few bursts of noise of some milliseconds, the last one with a tail."""
    centre = 900 * 2**pitch
    noise = band(random.normal(size=round(0.3 * RATE)), 0.6 * centre, min(1.8 * centre, 0.45 * RATE))
    return _level(noise * _strikes(random, random.integers(2, 5), 0.012, random.uniform(40, 90), len(noise)))


def knock(pitch: float, random: Random) -> Array:
    """Knuckles on a board: a low resonance and a click, two or three times."""
    time = _time(0.4)
    resonance = np.sin(2 * np.pi * 160 * 2**pitch * time) + 0.5 * np.sin(2 * np.pi * 380 * 2**pitch * time)
    click = 0.5 * band(random.normal(size=len(time)), 300, 1500)
    return _level(
        (resonance + click) * _strikes(random, random.integers(2, 4), 0.11, random.uniform(35, 70), len(time))
    )


EVENTS: Mapping[str, Callable[[float, Random], Array]] = {
    "bell": bell,
    "whistle": whistle,
    "clap": clap,
    "knock": knock,
}


def _time(seconds: float) -> Array:
    return np.arange(round(seconds * RATE)) / RATE


def _strikes(random: Random, count: int, apart: float, decay: float, length: int) -> Array:
    """Envelope of `count` strikes about `apart` seconds after each other."""
    time, envelope, onset = np.arange(length) / RATE, np.zeros(length), 0.0
    for _ in range(count):
        after = time - onset
        envelope += np.where(after >= 0, np.exp(-decay * np.clip(after, 0, None)), 0) * random.uniform(0.6, 1.0)
        onset += apart * random.uniform(0.8, 1.3)
    return envelope


def band(noise: Array, low: float, high: float) -> Array:
    """The part of a noise between two frequencies in Hz, with soft edges of a sixth of an octave."""
    octaves = np.log2(np.fft.rfftfreq(len(noise), 1 / RATE).clip(1))
    edges = 1 / (1 + np.exp(-12 * (octaves - np.log2(low)))) / (1 + np.exp(12 * (octaves - np.log2(high))))
    return np.fft.irfft(np.fft.rfft(noise) * edges, len(noise))


def _level(wave: Array) -> Array:
    """Root mean square 1 over the loudest tenth of a second, so that short and long sounds are alike loud."""
    energy = np.concatenate([[0.0], np.cumsum(wave**2)])
    return wave / np.sqrt((energy[RATE // 10 :] - energy[: -RATE // 10]).max() / (RATE // 10))
