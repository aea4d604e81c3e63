"""Step: one training step as an `nn.Module`. It alone is wrapped (DDP, compile)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.binding import Bound
from mmkd.data.views import Batch
from mmkd.schemes.base import Update
from mmkd.signals import Signals


class StepCall:
    """Runs the step's models on batches, each at most once per batch.

    Arguments:
        models: models by name.
        learner: the model that `call(batch)` means.
    """

    def __init__(self, models: Mapping[str, Bound], learner: str) -> None:
        self.models = models
        self.learner = learner
        self._said: dict[tuple[str, int, bool], tuple[Batch, Signals]] = {}

    def __call__(self, batch: Batch, model: str | None = None) -> Signals:
        key = (model or self.learner, id(batch), torch.is_grad_enabled())
        if key not in self._said:
            self._said[key] = (batch, self.models[key[0]](batch))  # holding the batch keeps its id unique
        return self._said[key][1]


class Step(nn.Module):
    """One training step: models that learn, methods with their adapters, the task.

    Arguments:
        models: models that learn, by name.
        updates: updates by name, run in order.
    """

    def __init__(self, models: Mapping[str, Bound], updates: Mapping[str, Update]) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.updates = nn.ModuleDict(updates)
        first = next(iter(models))
        self._learners = {name: (*update.trains, first)[0] for name, update in updates.items()}

    def forward(self, batch: Batch, update: str | None = None, step: int = 0) -> dict[str, Tensor]:
        """Named losses of one update (default: the first); `["loss"]` is the one to differentiate."""
        name = update or next(iter(self._learners))
        models: Any = self.models
        return self.updates[name](batch, StepCall(models, self._learners[name]), step)

    def trained_by(self, update: str) -> list[nn.Parameter]:
        """Parameters of one update: its models' and its methods' (adapters included)."""
        chosen: Any = self.updates[update]
        modules = [*(self.models[name] for name in chosen.trains), chosen]
        unique = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
        return list(unique.values())


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside the block; every part's own mode comes back after it."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
