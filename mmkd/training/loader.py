"""Batches of a view in a given order: slices where the data is in memory, a torch DataLoader where it is read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmkd.data.datasets import LazyDataset
from mmkd.data.views import Batch, View
from mmkd.training.randomness import generator


def batches(view: View, order: Callable[[int], Tensor], epoch: Callable[[int], int], first: int, last: int, seed: int,
            workers: int = 0, device: torch.device | str = "cpu") -> Iterator[Batch]:  # fmt: skip
    """The batches of steps `first` .. `last - 1`; a lazily read sample is augmented by (seed, epoch, row)."""
    if not isinstance(view.dataset, LazyDataset):
        for step in range(first, last):
            yield view.batch(order(step))
        return
    steps = _Steps(view.dataset, order, epoch, seed)
    loader = DataLoader(steps, batch_size=None, sampler=range(first, last), num_workers=workers,
                        persistent_workers=False)  # fmt: skip
    for index, samples in loader:
        yield view.batch(index, samples).to(device)


class _Steps:
    """Maps a step to its collated samples; what a DataLoader worker runs."""

    def __init__(self, dataset: LazyDataset, order: Callable[[int], Tensor], epoch: Callable[[int], int], seed: int) -> None:
        self.dataset, self.order, self.epoch, self.seed = dataset, order, epoch, seed

    def __len__(self) -> int:
        return 2**62  # the sampler alone says which steps there are

    def __getitem__(self, step: int) -> tuple[Tensor, Mapping[str, Any]]:
        index, epoch = self.order(step), self.epoch(step)
        samples = [
            self.dataset.augment(self.dataset[row], generator(self.seed, "augmentation", epoch, row))
            for row in index.tolist()
        ]
        return index, self.dataset.collate(samples)
