"""Batches of a view in a given order: slices of data in memory, a torch DataLoader where it is read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmkd.data.datasets import LazyDataset
from mmkd.data.views import Batch, View
from mmkd.nested import map_tensors
from mmkd.training.randomness import generator


def batches(
    view: View,
    order: Callable[[int], Tensor],
    epoch: Callable[[int], int],
    first: int,
    last: int,
    seed: int,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """The batches of steps `first` .. `last - 1`; a lazily read sample is augmented by (seed, epoch, row).

    `order` gives ids on the CPU where the data is read lazily: worker processes call it.
    """
    dataset = view.dataset
    if not isinstance(dataset, LazyDataset):
        for step in range(first, last):
            yield view.batch(order(step))
        return
    steps: Any = _Steps(dataset, order, epoch, seed)
    loader = DataLoader(steps, batch_size=None, sampler=range(first, last), num_workers=workers)
    for step, (index, samples) in zip(range(first, last), loader, strict=True):
        read = partial(_read, dataset, seed, epoch(step), device)
        yield view.batch(index.to(device), read, _moved(samples, device))


def example(view: View, seed: int, rows: int = 2) -> Batch:
    """The first rows of a view as the first epoch's training sees them: what models and methods are measured on."""
    index, dataset = view.rows[:rows], view.dataset
    if not isinstance(dataset, LazyDataset):
        return view.batch(index)
    return view.batch(index, partial(_read, dataset, seed, 0, index.device))


def _read(dataset: LazyDataset, seed: int, epoch: int, device: torch.device | str, index: Tensor) -> Mapping[str, Any]:
    """Augmented and collated samples of an epoch."""
    samples = [dataset.augment(dataset[row], generator(seed, "augmentation", epoch, row)) for row in index.tolist()]
    return _moved(dataset.collate(samples), device)


def _moved(samples: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    return {name: map_tensors(lambda tensor: tensor.to(device), value) for name, value in samples.items()}


class _Steps:
    """Maps a step to its collated samples; what a DataLoader worker runs."""

    def __init__(
        self, dataset: LazyDataset, order: Callable[[int], Tensor], epoch: Callable[[int], int], seed: int
    ) -> None:
        self.dataset, self.order, self.epoch, self.seed = dataset, order, epoch, seed

    def __len__(self) -> int:
        return 2**62  # the sampler alone says which steps there are

    def __getitem__(self, step: int) -> tuple[Tensor, Mapping[str, Any]]:
        index = self.order(step)
        return index, _read(self.dataset, self.seed, self.epoch(step), "cpu", index)
