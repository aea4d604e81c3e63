"""Splits of the nodes of one graph: the CPF procedure, and the three settings that graph distillation is judged in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.data import Split
from mmkd.errors import DataError

Setting = Literal["transductive", "inductive", "production"]
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
    """A split in one of three settings, two of them GLNN's (Zhang et al., ICLR 2022, arXiv 2110.08727).

    `transductive`: every row's inputs and edges are seen in training, the test rows' included; test part `test`.
    `production`: a fifth of the test rows is held out with its edges; test parts `tran` (seen) and `ind` (held out). As
    in GLNN the held-out ones are the first fifth, rounded down, of `torch.randperm` seeded with `seed`.
    `inductive`: the same fifth is held out and alone tested, as `test`; the validation rows are held out as well, so
    that selection is on rows as unseen as those that are judged. In `production` a student learns the teacher's answers
    on validation rows, and to select on them is to prefer what fits seen rows.

    Arguments:
        setting: which one.
        labelled: ids whose labels are trained on.
        valid: ids for selection.
        test: ids for testing, in the order that the permutation refers to.
        rows: number of rows of the data set.
        seed: of the permutation.
    """
    tested, selection = torch.from_numpy(test), torch.from_numpy(valid)
    shuffled = tested[torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))]
    fifth = shuffled[: int(len(test) * HELD_OUT)].sort().values
    if setting == "transductive":
        hidden, parts = fifth[:0], {"test": tested}
    elif setting == "production":
        hidden, parts = fifth, {"tran": tested[~torch.isin(tested, fifth)].sort().values, "ind": fifth}
    else:
        hidden, parts = torch.cat([fifth, selection]).sort().values, {"test": fifth}
    unlabelled = torch.ones(rows, dtype=torch.bool)
    unlabelled[hidden] = False
    unlabelled[torch.from_numpy(labelled)] = False
    return Split(
        labelled=torch.from_numpy(labelled),
        unlabelled=unlabelled.nonzero().flatten(),
        valid=selection,
        test=parts,
        hidden=hidden,
        setting=setting,
    )
