"""A decision tree drawn for the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmkd.pictures import png_of
from mmkd_symbolic.models.tree import Tree

COLOURS = ("#0072b2", "#b34700", "#00785a", "#9c4a7d", "#7a5c00", "#2d6f92")


def tree_picture(tree: Tree, columns: Sequence[str], classes: Sequence[str]) -> bytes:
    """The tree as PNG: a test in every inner node, to the left where it holds; class and its probability in leaves.

    Arguments:
        tree: at least a root.
        columns: names of what it tests.
        classes: names of what it says.
    """
    from matplotlib.figure import Figure

    places = _places(tree)
    depth = int(places[:, 1].max())
    figure = Figure(figsize=(max(0.95 * tree.leaves, 5.0), 0.8 * (depth + 1)), layout="constrained")
    axes = figure.subplots()
    box = {"boxstyle": "round,pad=0.25", "linewidth": 0.8}
    for node, (x, y) in enumerate(places):
        leaf = tree.column[node] < 0
        for child, word in () if leaf else ((tree.left[node], "yes"), (tree.right[node], "no")):
            across, down = places[child]
            axes.plot([x, across], [-y, -down], color="#8a8f94", linewidth=0.8, zorder=1)
            axes.text((x + across) / 2, -(y + down) / 2, word, fontsize=6, color="#565d64", ha="center", zorder=2)
        if leaf:
            most = int(tree.probability[node].argmax())
            text = f"{classes[most]}\n{100 * tree.probability[node][most]:.0f} %"
            look = {"facecolor": COLOURS[most % len(COLOURS)], "edgecolor": "none"}
        else:
            name, coded, value = columns[tree.column[node]].partition("=")
            # A column `name=value` holds 0 or 1: to the left goes what has another value.
            test = f"not {value}" if coded else f"≤ {tree.threshold[node]:.4g}"
            text, look = f"{name}\n{test}", {"facecolor": "white", "edgecolor": "#565d64"}
        axes.text(
            x, -y, text, fontsize=6.5, ha="center", va="center", color="white" if leaf else "black", bbox=box | look
        )
    axes.set(xlim=(-0.7, tree.leaves - 0.3), ylim=(-depth - 0.5, 0.5))
    axes.axis("off")
    return png_of(figure)


def _places(tree: Tree) -> np.ndarray:
    """x and depth of each node, `[nodes, 2]`: leaves side by side, an inner node amid its children."""
    places = np.zeros((len(tree.column), 2))
    leaves = iter(range(tree.leaves))

    def put(node: int, depth: int) -> float:
        inner = tree.column[node] >= 0
        x = np.mean([put(int(child[node]), depth + 1) for child in (tree.left, tree.right)]) if inner else next(leaves)
        places[node] = x, depth
        return float(x)

    put(0, 0)
    return places
