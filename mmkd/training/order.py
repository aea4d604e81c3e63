"""Which rows each step sees: a function of (seed, epoch), so that any step can be reached without the ones before."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd import distributed
from mmkd.errors import ConfigError
from mmkd.training.randomness import generator
from mmkd.training.settings import Training


class Order:
    """Row ids of every step.

    Arguments:
        rows: rows to draw from, reshuffled each epoch, `[R]`.
        labelled: rows that `labelled_batch` draws from, cycling.
        settings: batch size (over all processes; each takes its share), drop_last, labelled_batch.
        seed: seed of the purpose `order`.

    Raises `ConfigError` where the batch cannot be shared among the processes.
    """

    def __init__(self, rows: Tensor, labelled: Tensor, settings: Training, seed: int) -> None:
        if not len(rows):
            raise ConfigError("there are no training rows")
        self.rows, self.labelled, self.seed = rows, labelled, seed
        self.size = min(settings.batch_size, len(rows))
        self.extra = min(settings.labelled_batch, len(labelled))
        self.world, self.rank = distributed.world_size(), distributed.rank()
        if self.size % self.world or self.extra % self.world:
            raise ConfigError(f"a batch of {self.size} + {self.extra} rows cannot be shared by {self.world} processes")
        full, rest = divmod(len(rows), self.size)
        keeps_rest = bool(rest) and not settings.drop_last and rest % self.world == 0
        self.steps_per_epoch = full + keeps_rest
        self._shuffled: dict[str, tuple[int, Tensor]] = {}

    def epoch(self, step: int) -> int:
        return step // self.steps_per_epoch

    def __call__(self, step: int) -> Tensor:
        """Global row ids of one step for this process, `[B]`."""
        epoch, place = divmod(step, self.steps_per_epoch)
        index = self._permuted("rows", self.rows, epoch)[place * self.size : (place + 1) * self.size]
        parts = [index[self.rank :: self.world] if self.world > 1 else index]
        if self.extra:
            first = step * self.extra
            parts.append(
                torch.cat([self._cycled(i) for i in range(first, first + self.extra)])[self.rank :: self.world]
            )
        return torch.cat(parts) if self.extra else parts[0]

    def _cycled(self, position: int) -> Tensor:
        epoch, place = divmod(position, len(self.labelled))
        return self._permuted("labelled", self.labelled, epoch)[place : place + 1]

    def _permuted(self, name: str, rows: Tensor, epoch: int) -> Tensor:
        known = self._shuffled.get(name)
        if known is None or known[0] != epoch:
            counters = (epoch,) if name == "rows" else (epoch, 1)
            shuffle = torch.randperm(len(rows), generator=generator(self.seed, "order", *counters))
            self._shuffled[name] = (epoch, rows[shuffle.to(rows.device)])
        return self._shuffled[name][1]
