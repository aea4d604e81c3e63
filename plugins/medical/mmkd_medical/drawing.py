"""Slices with lesions as each arm draws them, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmkd.pictures import png_of


@dataclass(frozen=True)
class Case:
    """One slice of one patient.

    Arguments:
        scans: `[H, W]` by sequence.
        truth: classes, 0 for the background, `[H, W]`.
        said: the same by arm.
        dice: over the whole patient, by arm, between 0 and 1.
    """

    scans: Mapping[str, NDArray[np.floating]]
    truth: NDArray[np.integer]
    said: Mapping[str, NDArray[np.integer]]
    dice: Mapping[str, float]


def segmentations(cases: Sequence[Case], classes: int) -> bytes:
    """One case in a row as PNG: its sequences, then the truth and every answer over the last sequence.

    Arguments:
        cases: of equal sequences and arms.
        classes: how many, the background among them.
    """
    from matplotlib.figure import Figure

    columns = len(cases[0].scans) + 1 + len(cases[0].said)
    figure = Figure(figsize=(1.35 * columns, 1.55 * len(cases)), layout="constrained")
    for row, case in zip(figure.subplots(len(cases), columns, squeeze=False), cases, strict=True):
        places = iter(row)
        for name, scan in case.scans.items():
            _show(next(places), scan, name)
        below = list(case.scans.values())[-1]
        for name, found in {"truth": case.truth, **case.said}.items():
            axes = next(places)
            title = name if name == "truth" else f"{name} {100 * case.dice[name]:.0f} %"
            _show(axes, below, title)
            axes.imshow(np.ma.masked_equal(found, 0), cmap="autumn", vmin=1, vmax=max(classes - 1, 2), alpha=0.6)
            if name != "truth" and (case.truth > 0).any():
                axes.contour(case.truth > 0, levels=[0.5], colors="white", linewidths=0.8)
    return png_of(figure)


def _show(axes: object, scan: NDArray[np.floating], title: str) -> None:
    axes.imshow(scan, cmap="gray", interpolation="nearest")  # type: ignore[attr-defined]
    axes.set_title(title, fontsize=7, pad=2)  # type: ignore[attr-defined]
    axes.axis("off")  # type: ignore[attr-defined]
