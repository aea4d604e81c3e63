"""One sample of a data set drawn for people, each field by its layout. matplotlib is imported by the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    from mmkd.data.datasets import Dataset

COLUMNS = 8  # of a table that are drawn
LINES = 12  # of a series


def draw_sample(dataset: Dataset, row: int, figure: FigureBase) -> str:
    """Draw the inputs of one sample below each other.

    Arguments:
        dataset: held in memory, or lazy.
        row: its id.
        figure: empty.

    Returns:
        What was drawn, in words; empty where no field has a layout that can be drawn.
    """
    sample = dataset.read(_index(row))
    shown = {
        name: value[0].detach().cpu().numpy()
        for name, value in sample.items()
        if not dataset.fields[name].target and hasattr(value, "detach") and _drawer(dataset, name) is not None
    }
    if not shown:
        return ""
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for place, (name, value) in zip(axes, shown.items(), strict=True):
        place.tick_params(labelsize=6)
        unit = dataset.fields[name].unit
        place.set_title(f"{name}, {unit}" if unit else name, fontsize=7, loc="left", pad=2)
        drawer = _drawer(dataset, name)
        assert drawer is not None
        drawer(place, value, dataset, name)
    return ", ".join(
        f"columns of {name} that stand out" if dataset.fields[name].layout == "vector" else name for name in shown
    )


def _index(row: int) -> Any:
    import torch

    return torch.tensor([row])


def _drawer(dataset: Dataset, name: str) -> Any:
    drawers = {"series": _series, "vector": _vector, "map": _map}
    layout = dataset.fields[name].layout
    if layout == "vector" and not (dataset.fields[name].channels and name in dataset.samples):
        return None  # numbers without names say nothing to a reader
    return drawers.get(layout)


def _series(axes: Axes, value: NDArray[Any], dataset: Dataset, name: str) -> None:
    """Lines over time, without the zeros that pad a short recording."""
    used = np.flatnonzero(np.abs(value).sum(0))
    value = value[:, : int(used[-1]) + 1] if len(used) else value
    rate = dataset.fields[name].rate
    time = np.arange(value.shape[1]) / (rate or 1.0)
    for line in np.argsort(-value.std(1), kind="stable")[:LINES]:
        axes.plot(time, value[line], linewidth=0.8)
    axes.set_xlabel("s" if rate else "steps", fontsize=6, labelpad=0)


def _vector(axes: Axes, value: NDArray[Any], dataset: Dataset, name: str) -> None:
    """Where the columns that stand out most lie among all rows: 0 is the smallest value, 100 the largest."""
    every = dataset.samples[name].detach().cpu().numpy()
    rank = 100 * ((every < value).mean(0) + (every == value).mean(0) / 2)
    chosen = np.sort(np.argsort(-np.abs(rank - 50), kind="stable")[:COLUMNS])[::-1]
    axes.hlines(range(len(chosen)), 50, rank[chosen], color="#8a8f94", linewidth=1)
    axes.plot(rank[chosen], range(len(chosen)), "o", color="#0072b2", markersize=3)
    names = [f"{dataset.fields[name].channels[column]} = {value[column]:.3g}" for column in chosen]
    axes.set_yticks(range(len(chosen)), names, fontsize=6)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("percentile among all rows", fontsize=6, labelpad=0)


def _map(axes: Axes, value: NDArray[Any], dataset: Dataset, name: str) -> None:
    """A picture: in colour where it has three channels, else the first one in grey."""
    if value.shape[0] == 3:
        shown = value.transpose(1, 2, 0).astype(np.float64)
        axes.imshow((shown - shown.min()) / max(np.ptp(shown), 1e-9))
    else:
        axes.imshow(value[0], cmap="gray")
    axes.axis("off")
