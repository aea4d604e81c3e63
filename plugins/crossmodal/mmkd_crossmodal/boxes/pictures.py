"""Boxes drawn on the picture and from above: truth, and what each model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.pictures import png_of
from mmkd_crossmodal.boxes.geometry import NEAR, corners, ground_corners, project

Array = NDArray[Any]

COLOURS = {"truth": "#ffffff", "teacher": "#f0b429", "alone": "#ff6f59", "distilled": "#4cc9f0"}
OTHERS = ("#b388eb", "#8ac926", "#ff99c8")
AHEAD, ASIDE = 55.0, 22.0  # metres that are drawn
_EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]


def drawn(image: Array, depth: Array | None, camera: Array, said: Mapping[str, Array]) -> bytes:
    """A PNG of one frame: the picture once per model with its boxes, and all boxes from above.

    Arguments:
        image: `[3, H, W]`, uint8.
        depth: `[H, W]`, metres, 0 where unknown: the scan, drawn from above.
        camera: projection into `image`, `[3, 4]`.
        said: boxes `[N, 7]` by name; `truth` is drawn everywhere.
    """
    import matplotlib
    from matplotlib.figure import Figure

    names = [name for name in said if name != "truth"]
    with matplotlib.rc_context({"font.size": 8, "text.color": "#dddddd", "axes.edgecolor": "#777777"}):
        figure = Figure(figsize=(10, 1.35 * len(names) + 0.2), facecolor="#16191d")
        grid = figure.add_gridspec(len(names), 2, width_ratios=[2.4, 1], wspace=0.04, hspace=0.22)
        for row, name in enumerate(names):
            axes = figure.add_subplot(grid[row, 0])
            axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
            axes.set(xlim=(0, image.shape[2]), ylim=(image.shape[1], 0), xticks=[], yticks=[])
            axes.set_title(f"{name} ({len(said[name])} boxes), truth in white", loc="left", pad=2, fontsize=8)
            for one in ("truth", name):
                for line in _outlines(said[one], camera):
                    axes.plot(*line.T, color=_colour(one, names), linewidth=1.0 if one == "truth" else 1.3)
        axes = figure.add_subplot(grid[:, 1], facecolor="#101316")
        if depth is not None:
            axes.scatter(*_points(depth, camera), s=0.4, color="#5c6770", linewidths=0)
        for name in said:
            for corner in ground_corners(torch.from_numpy(said[name])).numpy():
                axes.plot(*np.concatenate([corner, corner[:1]]).T, color=_colour(name, names), linewidth=1.2)
                axes.plot(*corner[:2].mean(0), ".", color=_colour(name, names), markersize=3)
        axes.set(xlim=(-ASIDE, ASIDE), ylim=(0, AHEAD), aspect="equal")
        axes.tick_params(colors="#999999", labelsize=6)
        axes.set_title("from above, metres; a dot marks the front", loc="left", pad=2, fontsize=8)
        return png_of(figure)


def _colour(name: str, names: list[str]) -> str:
    others = [other for other in names if other not in COLOURS]
    return COLOURS[name] if name in COLOURS else OTHERS[others.index(name) % len(OTHERS)]


def _outlines(boxes: Array, camera: Array) -> list[Array]:
    """Edges of boxes in the picture, `[2, 2]` each; those that reach behind the camera are left out."""
    if not len(boxes):
        return []
    pixels, depth = project(corners(torch.from_numpy(boxes)), torch.from_numpy(camera).to(torch.from_numpy(boxes)))
    return [
        pixels[row, list(edge)].numpy()
        for row in range(len(boxes))
        for edge in _EDGES
        if bool((depth[row, list(edge)] > NEAR).all())
    ]


def _points(depth: Array, camera: Array) -> tuple[Array, Array]:
    """x and z of a depth image's pixels that stand above the ground, roughly."""
    row, column = np.nonzero(depth)
    z = depth[row, column]
    y = (row + 0.5 - camera[1, 2]) * z / camera[1, 1]
    standing = y < 1.2
    return ((column + 0.5 - camera[0, 2]) * z / camera[0, 0])[standing], z[standing]
