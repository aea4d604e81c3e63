"""`graph/digits-knn`: scikit-learn's handwritten digits and who looks like whom. Embedded: no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeInt, PositiveInt
from sklearn.datasets import load_digits

from mmkd.errors import ConfigError
from mmkd_graph.datasets.base import NodeData
from mmkd_graph.graph import Graph, nearest_neighbours
from mmkd_graph.splits import Rows, Setting, per_class

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

GREY_LEVELS = 16


class DigitsKNN(NodeData):
    """1,797 digits of 8x8 pixels; the graph ties each to the digits nearest in pixel space. 10 classes.

    The neighbour graph is made of the pixels of all nodes, test nodes included, and of no label. The pixels are fixed,
    so in the production setting a visible node may have lost a place among its nearest to a node that is hidden.

    Arguments:
        setting: `transductive`; `production`, a fifth of the test nodes held out; `inductive`, those for selection too.
        neighbours: nearest neighbours that each node chooses; an edge needs one of its two ends to choose the other.
        labels_per_class: labelled training nodes.
        valid_per_class: nodes for selection; all others are for testing.
        positions: columns of `position`, where the node stands in the graph; 0 leaves it out.
        smoothing: hops of `smoothed`, the mean of the features around; 0 leaves it out.
    """

    name = "graph/digits-knn"
    card = "digits-knn"

    def __init__(
        self,
        *,
        setting: Setting = "transductive",
        neighbours: PositiveInt = 5,
        labels_per_class: PositiveInt = 5,
        valid_per_class: NonNegativeInt = 10,
        positions: NonNegativeInt = 0,
        smoothing: NonNegativeInt = 0,
    ) -> None:
        digits = load_digits()
        pixels = digits.data.astype(np.int64)
        if neighbours >= len(pixels):
            raise ConfigError(f"neighbours = {neighbours}: there are but {len(pixels) - 1} other digits")
        graph = Graph(
            (pixels / GREY_LEVELS).astype(np.float32),
            nearest_neighbours(pixels, neighbours),
            digits.target.astype(np.int64),
            tuple(map(str, digits.target_names)),
        )
        super().__init__(graph, setting=setting, positions=positions, smoothing=smoothing, legal=(0.0, 1.0))
        self.labels_per_class, self.valid_per_class = labels_per_class, valid_per_class

    def draw(self, row: int, figure: FigureBase) -> str:
        """The digit, and up to six of those that it is tied to with their classes."""
        pixels, label = self.samples["x"].cpu().numpy().reshape(-1, 8, 8), self.samples["label"].cpu()
        own, others = figure.subfigures(1, 2, width_ratios=[1, 1.2])
        axes = own.subplots()
        axes.imshow(pixels[row], cmap="gray_r")
        axes.set_title("the digit", fontsize=7)
        axes.axis("off")
        tied = self.neighbours(row)
        for place, node in zip(others.subplots(3, 2).flat, [*tied.tolist()[:6], *[None] * 6], strict=False):
            place.axis("off")
            if node is not None:
                place.imshow(pixels[node], cmap="gray_r")
                place.set_title(f"neighbour: {int(label[node])}", fontsize=6, pad=1)
        return "a digit and those that it is tied to"

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        return per_class(self.samples["label"].numpy(), seed, self.labels_per_class, self.valid_per_class)
