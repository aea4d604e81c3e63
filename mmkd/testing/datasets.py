"""Checks of data sets."""

from __future__ import annotations

import torch

from mmkd.data.cards import card_of
from mmkd.data.datasets import Dataset
from mmkd.registry import Entry
from mmkd.testing.checks import NotApplicable
from mmkd.testing.common import reads_users_files
from mmkd.testing.stage import Stages


def card_present(entry: Entry, stages: Stages) -> None:
    """Its data card is in the package and passes."""
    if reads_users_files(entry):
        raise NotApplicable("it reads files that the user brings")
    card_of(entry.name)


def deterministic(entry: Entry, stages: Stages) -> None:
    """Built twice, it holds the same values."""
    first, second = _built(entry, stages), stages.new_dataset(entry)
    assert first.content_hash() == second.content_hash(), "the content differs from one build to the next"


def splits_are_sound(entry: Entry, stages: Stages) -> None:
    """The split is a function of the seed; no group straddles training, validation and test, unless it is one graph."""
    dataset = _built(entry, stages)
    if type(dataset).split is Dataset.split:
        raise NotApplicable("it defines no split")
    for seed in (0, 1):
        split, again = dataset.split(seed), dataset.split(seed)
        parts = {"training": split.train, "validation": split.valid, "test": split.test_rows}
        for name, rows in {"training": again.train, "validation": again.valid, "test": again.test_rows}.items():
            assert torch.equal(rows, parts[name]), f"the {name} rows of seed {seed} differ from call to call"
            assert len(rows) == 0 or 0 <= int(rows.min()) <= int(rows.max()) < len(dataset), f"{name} rows out of range"
        if dataset.groups is None or split.setting == "transductive":
            continue
        groups = {name: set(dataset.groups[rows].tolist()) for name, rows in parts.items()}
        for one, other in (("training", "test"), ("training", "validation"), ("validation", "test")):
            common = groups[one] & groups[other]
            assert not common, f"{dataset.unit} {min(common)} is in the {one} and in the {other} part of seed {seed}"


def _built(entry: Entry, stages: Stages) -> Dataset:
    if reads_users_files(entry) and not stages.settings(entry):
        raise NotApplicable("it reads files that the user brings, and checks.toml names none")
    return stages.dataset(entry)
