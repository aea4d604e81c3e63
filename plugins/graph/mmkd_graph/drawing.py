"""A node and its neighbours, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
SHOWN = 14  # neighbours


def star(axes: Axes, ties: Sequence[tuple[str, str]]) -> None:
    """Draw a node in the middle and what it is tied to around it.

    Arguments:
        axes: empty.
        ties: of each neighbour its kind, which decides on the colour and stands in the legend, and the text inside it.
    """
    shown = list(ties)[:SHOWN]
    angle = 2 * np.pi * np.arange(len(shown)) / max(len(shown), 1)
    places = np.stack([np.cos(angle), np.sin(angle)], 1)
    kinds = list(dict.fromkeys(kind for kind, _ in shown))
    for (kind, text), (x, y) in zip(shown, places, strict=True):
        axes.plot([0, x], [0, y], color="#b5b9bd", linewidth=0.8, zorder=1)
        colour = COLOURS[kinds.index(kind) % len(COLOURS)]
        axes.plot(x, y, "o", color=colour, markersize=13, zorder=2)
        axes.text(x, y, text, color="white", fontsize=6, ha="center", va="center_baseline", zorder=3)
    axes.plot(0, 0, "o", color="#1d2125", markersize=15, zorder=2)
    axes.text(0, 0, "?", color="white", fontsize=9, ha="center", va="center_baseline", zorder=3)
    for number, kind in enumerate(kinds):
        axes.plot([], [], "o", color=COLOURS[number % len(COLOURS)], markersize=4, label=kind)
    if kinds:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, handletextpad=0.2)
    axes.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    axes.axis("off")
    if len(ties) > SHOWN:
        axes.set_title(f"{SHOWN} of {len(ties)} neighbours", fontsize=6, loc="left", pad=1)


def short(name: str, letters: int = 3) -> str:
    """A class name that fits into a circle."""
    return name if len(name) <= letters else "".join(part[0] for part in name.split("_") if part)[:letters].upper()
