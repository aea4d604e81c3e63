"""Splits of the nodes of one graph: the CPF procedure, and the two settings that graph distillation is judged in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.data import Split
from mmkd.errors import DataError

Setting = Literal["transductive", "production"]
Rows = NDArray[np.int64]

HELD_OUT = 0.2
LABELLED, VALID = 20, 30  # per class, in CPF and GLNN


def per_class(labels: Rows, seed: int, labelled: int, valid: int) -> tuple[Rows, Rows, Rows]:
    """The CPF split: so many rows of each class to train on, so many to select on, all others to test on.

    The draws are those of Shchur et al. 2018 ("Pitfalls of Graph Neural Network Evaluation", arXiv 1811.05868), which
    CPF and GLNN use: one `numpy.random.RandomState(seed)`; for class 0, 1, ... `choice(ids of the class in rising
    order, labelled, replace=False)`; then for class 0, 1, ... the same for validation among the ids that are left.

    Arguments:
        labels: class of every row, `[N]`.
        seed: of the RandomState.
        labelled: training rows per class.
        valid: validation rows per class.

    Returns:
        Ids to train on and to select on, as drawn; ids to test on, rising.

    Raises:
        DataError: a class is too small.
    """
    random = np.random.RandomState(seed)
    classes = range(int(labels.max()) + 1)
    sizes = np.bincount(labels)
    if sizes[small := int(sizes.argmin())] < labelled + valid:
        raise DataError(
            f"class {small} has {sizes[small]} nodes, too few for {labelled} labelled and {valid} validation ones",
            "lower labels_per_class or valid_per_class",
        )
    free = np.ones(len(labels), dtype=bool)

    def draw(count: int) -> Rows:
        return np.concatenate(
            [random.choice(np.flatnonzero((labels == label) & free), count, replace=False) for label in classes]
        )

    train = draw(labelled)
    free[train] = False
    selection = draw(valid)
    free[selection] = False
    return train, selection, np.flatnonzero(free)


def cpf(labels: Rows, seed: int) -> tuple[Rows, Rows, Rows]:
    """`per_class` with the sizes of CPF and GLNN."""
    return per_class(labels, seed, LABELLED, VALID)


def in_setting(setting: Setting, labelled: Rows, valid: Rows, test: Rows, rows: int, seed: int) -> Split:
    """A split in one of the two settings of GLNN (Zhang et al., ICLR 2022, arXiv 2110.08727).

    `transductive`: every row's inputs and edges are seen in training, the test rows' included; test part `test`.
    `production`: a fifth of the test rows is held out with its edges; test parts `tran` (seen) and `ind` (held out). As
    in GLNN the held-out ones are the first fifth, rounded down, of `torch.randperm` seeded with `seed`.

    Arguments:
        setting: which one.
        labelled: ids whose labels are trained on.
        valid: ids for selection.
        test: ids for testing, in the order that the permutation refers to.
        rows: number of rows of the data set.
        seed: of the permutation.
    """
    shuffled = torch.from_numpy(test)[torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))]
    hidden = shuffled[: int(len(test) * HELD_OUT)] if setting == "production" else shuffled[:0]
    seen = torch.ones(rows, dtype=torch.bool)
    seen[hidden] = False
    parts = {"test": torch.from_numpy(test)}
    if setting == "production":
        tested = torch.zeros(rows, dtype=torch.bool)
        tested[parts.pop("test")] = True
        parts = {"tran": (tested & seen).nonzero().flatten(), "ind": hidden.sort().values}
    unlabelled = seen.clone()
    unlabelled[torch.from_numpy(labelled)] = False
    return Split(
        labelled=torch.from_numpy(labelled),
        unlabelled=unlabelled.nonzero().flatten(),
        valid=torch.from_numpy(valid),
        test=parts,
        hidden=hidden.sort().values,
        setting=setting,
    )
