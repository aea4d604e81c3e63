"""What the tables share: named columns, a label, splits of distinct inputs, and labels that are wrong in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.data import Dataset, Field, Split
from mmkd.errors import ConfigError, DataError
from mmkd_symbolic.expressions import Domain, Real

SHARES = (0.6, 0.2, 0.2)


class Table(Dataset):
    """Rows of named columns, to be classified.

    Fields: `x` `[N, F]`, raw values, whose channels are the columns; `label`.

    A column called `name=value` is 1 where the variable `name` has that value, and stands beside its other values'.
    Equal inputs never straddle parts: where a table holds a row twice, both go together, and count as one test unit.

    Arguments:
        x: values, `[N, F]`, finite.
        columns: their names.
        label: class of every row, `[N]`.
        classes: their names.
        label_noise: share of the labelled training rows whose label is replaced by another class, drawn anew for each
            split; validation and test labels stay true.
        labels_per_class: labelled training rows of each class, the other training rows are unlabelled; None: all.
        domains: of the variables that rules name; a column without one is real.

    Attributes:
        domains: of every variable.
        rules: of the world that the table comes from, where it is known: text by what it says, e.g. a class.
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        columns: Sequence[str],
        label: NDArray[np.int64],
        classes: Sequence[str],
        *,
        label_noise: float = 0.0,
        labels_per_class: int | None = None,
        domains: Mapping[str, Domain] | None = None,
        shares: tuple[float, float, float] = SHARES,
    ) -> None:
        if not 0 <= label_noise < 1:
            raise ConfigError(f"label_noise = {label_noise} is outside [0, 1)")
        _, group = np.unique(x, axis=0, return_inverse=True)
        fields = {
            "x": Field((len(columns),), layout="vector", channels=tuple(columns)),
            "label": Field((), "int64", target=True, classes=tuple(classes)),
        }
        samples = {"x": torch.from_numpy(np.ascontiguousarray(x)), "label": torch.from_numpy(label)}
        super().__init__(fields, samples, groups=torch.from_numpy(group.reshape(-1)), unit="distinct input")
        self.label_noise, self.labels_per_class, self.shares = label_noise, labels_per_class, shares
        plain = {name.partition("=")[0] for name in columns}
        self.domains: dict[str, Domain] = {name: (domains or {}).get(name, Real()) for name in sorted(plain)}
        self.rules: tuple[str, ...] = ()

    def split(self, seed: int) -> Split:
        """Distinct inputs of each class, shuffled: `shares` of them to train on, to select on, to test on."""
        random = np.random.default_rng(np.random.SeedSequence([seed, 0]))
        label, group = self.samples["label"].numpy(), np.asarray(self.groups)
        _, first = np.unique(group, return_index=True)  # a group's class is that of its first row
        part = np.empty(len(first), np.int64)
        for value in range(int(label.max()) + 1):
            members = random.permutation(np.flatnonzero(label[first] == value))
            ends = np.round(np.cumsum(self.shares[:2]) * len(members)).astype(int)
            for number, some in enumerate(np.split(members, ends)):
                part[some] = number
        train, valid, test = (np.flatnonzero(part[group] == number) for number in range(3))
        labelled = train if self.labels_per_class is None else self._few(train, label, random)
        observed = label.copy()
        if self.label_noise:
            wrong = random.permutation(labelled)[: round(self.label_noise * len(labelled))]
            count = len(self.fields["label"].classes)
            observed[wrong] = (label[wrong] + random.integers(1, count, len(wrong))) % count
        return Split(
            labelled=torch.from_numpy(labelled),
            unlabelled=torch.from_numpy(np.setdiff1d(train, labelled)),
            valid=torch.from_numpy(valid),
            test={"test": torch.from_numpy(test)},
            observed={"label": torch.from_numpy(observed)} if self.label_noise else {},
        )

    def _few(
        self, train: NDArray[np.int64], label: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.int64]:
        chosen = []
        for value, name in enumerate(self.fields["label"].classes):
            members = train[label[train] == value]
            if len(members) < (self.labels_per_class or 0):
                raise DataError(
                    f"class '{name}' has {len(members)} training rows, fewer than labels_per_class = "
                    f"{self.labels_per_class}",
                    "lower labels_per_class",
                )
            chosen.append(random.choice(members, self.labels_per_class, replace=False))
        return np.sort(np.concatenate(chosen))
