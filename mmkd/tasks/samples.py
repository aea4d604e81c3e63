"""A few classified samples for the report: drawn by their data set, and below each what every arm said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmkd.data.datasets import Dataset
from mmkd.pictures import Picture, png_of
from mmkd.tasks.base import Records

PICTURED, IN_A_ROW = 6, 3
RIGHT, WRONG = "#00695c", "#b3261e"


def spread(answers: Mapping[str, NDArray[np.int64]], truth: NDArray[np.int64], count: int = PICTURED) -> list[int]:
    """Places of samples, from those that no arm names rightly to those that all do, each number of arms in its turn.

    Arguments:
        answers: class by arm, `[N]` each.
        truth: `[N]`.
    """
    right = np.sum([answer == truth for answer in answers.values()], 0)
    levels = [np.flatnonzero(right == level) for level in np.unique(right)]
    turns = [level[turn] for turn in range(count) for level in levels if turn < len(level)]
    return sorted((int(place) for place in turns[:count]), key=lambda place: right[place])


def decided(logits: NDArray[np.floating]) -> NDArray[np.int64]:
    """The class of each row, -1 where the largest logit is no single one: a rule that does not fire says nothing."""
    best = logits.max(1, keepdims=True)
    return np.where((logits == best).sum(1) == 1, logits.argmax(1), -1)


def sample_picture(
    dataset: Dataset, records: Mapping[str, Records], output: str, target: str, classes: Sequence[str]
) -> list[Picture]:
    """The picture of some test samples; none where the data set can draw nothing.

    Arguments:
        dataset: draws its samples.
        records: by arm, rows in equal order.
        output: the logits.
        target: the label.
        classes: names.
    """
    from matplotlib.figure import Figure

    first = next(iter(records.values()))
    answers = {name: decided(kept[output]) for name, kept in records.items()}
    places = spread(answers, first[target])
    lines = len(records) + 1
    written = 0.16 * lines + 0.1
    figure = Figure(figsize=(3.7 * IN_A_ROW, (2.5 + written) * -(-len(places) // IN_A_ROW)), layout="constrained")
    parts = figure.subfigures(-(-len(places) // IN_A_ROW), IN_A_ROW, squeeze=False, hspace=0.04, wspace=0.04)
    told, seen = [], ""
    for part, place in zip(parts.flat, places, strict=False):
        above, below = part.subfigures(2, 1, height_ratios=[2.5, written])
        seen = dataset.draw(int(first["index"][place]), above)
        if not seen:
            return []
        truth = int(first[target][place])
        said = {name: int(answer[place]) for name, answer in answers.items()}
        _write(below, {"truth": classes[truth], **{n: classes[one] if one >= 0 else "-" for n, one in said.items()}})
        right = [name for name, one in said.items() if one == truth]
        told.append(f"{classes[truth]} (right: {', '.join(right) or 'none'})")
    caption = f"Test samples of the first seed ({seen}), from those that no arm names rightly to those that all do."
    return [Picture("samples", caption, f"{len(told)} samples, {seen}: {'; '.join(told)}.", png_of(figure))]


def _write(below: object, said: Mapping[str, str]) -> None:
    """Truth and answers as lines; words tell right from wrong, besides colour."""
    axes = below.subplots()  # type: ignore[attr-defined]
    axes.axis("off")
    truth = said["truth"]
    for number, (name, answer) in enumerate(said.items()):
        mark = "" if not number else " undecided" if answer == "-" else " (right)" if answer == truth else " (wrong)"
        colour = "black" if not number or answer == "-" else RIGHT if answer == truth else WRONG
        axes.text(0, 1 - number / len(said), f"{name}: {answer}{mark}", color=colour, fontsize=7.5, va="top")
