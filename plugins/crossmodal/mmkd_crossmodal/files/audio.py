"""Recordings from files: one channel of int16 PCM at a declared rate, and clips of one length. Needs soundfile."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError

Wave = NDArray[np.int16]
FULL = 32767
CLIPPED_RUN = 3  # neighbouring samples at full scale: a single one may be the loudest that there is


def read_audio(file: Path | BinaryIO, rate: int, name: str) -> Wave:
    """One channel of a sound file as int16 PCM, `[T]`; floating-point files are scaled from -1 ... 1.

    Arguments:
        file: path or open file of any format that libsndfile reads.
        rate: samples per second that are wanted; nothing is resampled.
        name: what errors call the file.

    Raises:
        DataError: the file is damaged or empty, has another rate or several channels, or holds NaN, infinite values or
            digital silence alone.
    """
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            found, channels = sound.samplerate, sound.channels
            exact = sound.subtype in ("PCM_16", "PCM_U8", "PCM_S8")
            samples = sound.read(dtype="int16" if exact else "float64", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise DataError(
            f"{name} cannot be read as sound ({' '.join(str(error).split())})", "check that it is whole"
        ) from error
    if found != rate:
        raise DataError(f"{name} has {found} samples per second where {rate} are expected", f"resample it to {rate} Hz")
    if channels != 1:
        raise DataError(f"{name} has {channels} channels where one is expected", "mix it down, or choose one of them")
    if not len(samples):
        raise DataError(f"{name} holds no samples")
    wave = samples[:, 0]
    if not np.isfinite(wave).all():
        raise DataError(f"{name} holds NaN or infinite values (first in sample {int(np.argmin(np.isfinite(wave)))})")
    pcm = wave if exact else np.rint(np.clip(wave, -1, FULL / (FULL + 1)) * (FULL + 1))
    if not pcm.any():
        raise DataError(f"{name} holds nothing but silence")
    return pcm.astype(np.int16)


def clipped(wave: Wave) -> float:
    """Share of samples that stand at full scale among neighbours that do, too: a recording that was too loud."""
    full = np.abs(wave.astype(np.int32)) >= FULL
    runs = np.convolve(full, np.ones(CLIPPED_RUN), "same") >= CLIPPED_RUN
    return float(runs.mean())


def warn_if_clipped(wave: Wave, name: str) -> None:
    """Say in one line that a recording was too loud; it is used all the same."""
    if share := clipped(wave):
        warnings.warn(f"{name} is clipped: {share:.1%} of its samples are at full scale", stacklevel=2)


def fitted(wave: Wave, length: int) -> Wave:
    """A clip of `length` samples: the middle of a longer recording; a shorter one over and over."""
    if len(wave) < length:
        return np.resize(wave, length)
    start = (len(wave) - length) // 2
    return wave[start : start + length]
