"""Spectrograms of clips, and below each what every arm said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import stft

from mmkd.pictures import png_of

FLOOR = -70.0  # dB below the loudest
RIGHT, WRONG = "#00695c", "#b3261e"


def spectrograms(waves: Sequence[NDArray[np.int16]], rate: float, said: Sequence[Mapping[str, str]]) -> bytes:
    """Clips side by side, three in a row, as PNG.

    Arguments:
        waves: `[T]` each.
        rate: samples per second.
        said: of each clip the class by arm; the first entry is the truth. Words tell right from wrong, besides colour.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(waves))
    rows = -(-len(waves) // columns)
    written = 0.17 * max(map(len, said))  # inches
    figure = Figure(figsize=(3.6 * columns, (2.1 + written) * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.1, written] * rows)
    for number, axis in enumerate(axes[0::2].flat):
        below = axes[1::2].flat[number]
        below.axis("off")
        if number >= len(waves):
            axis.axis("off")
            continue
        frequency, time, transform = stft(waves[number].astype(np.float64), rate, nperseg=256, noverlap=192)
        level = 20 * np.log10(np.abs(transform) + 1e-9)
        axis.pcolormesh(time, frequency / 1000, level - level.max(), vmin=FLOOR, vmax=0, cmap="magma", rasterized=True)
        axis.set_xlabel("s", fontsize=7, labelpad=0)
        axis.set_ylabel("kHz", fontsize=7, labelpad=1)
        axis.tick_params(labelsize=7)
        names = list(said[number])
        truth = said[number][names[0]]
        for line, name in enumerate(names):
            answer = said[number][name]
            mark = "" if not line else " (right)" if answer == truth else " (wrong)"
            colour = "black" if not line else RIGHT if answer == truth else WRONG
            below.text(0, 1 - line / len(names), f"{name}: {answer}{mark}", color=colour, fontsize=7.5, va="top")
    return png_of(figure)
