"""The contract of a scheme: stages, and in each stage the updates of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mmkd.binding import Bound
from mmkd.components import Model
from mmkd.data.views import Batch
from mmkd.methods.base import Method
from mmkd.sources.base import Call, Source
from mmkd.tasks.base import Task


class Ramp(BaseModel):
    """A loss weight that moves linearly from `start` to `end` over `steps` optimiser steps, then stays."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    start: float
    end: float
    steps: int = Field(gt=0)

    def at(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


class Decay(BaseModel):
    """A loss weight that moves from `start` towards `end`; what is left of the way shrinks by `rate` every `every`
    optimiser steps: `end + (start - end) * rate^(step // every)`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    start: float
    end: float
    rate: float = Field(gt=0, lt=1)
    every: int = Field(gt=0)

    def at(self, step: int) -> float:
        return self.end + (self.start - self.end) * self.rate ** (step // self.every)


Schedule = Ramp | Decay
Weight = float | Schedule


def value_at(weight: Weight, step: int) -> float:
    """The weight at an optimiser step."""
    return weight.at(step) if isinstance(weight, Schedule) else weight


def weighted(weight: float, loss: Tensor) -> Tensor:
    """The product, without a kernel forward and another backward where the weight is 1."""
    return loss if weight == 1 else weight * loss


class Update(nn.Module):
    """What one optimiser learns in a step: whom it trains, and by which losses.

    Subclass it for losses that are neither a task's nor a method's, such as a generator's.

    Arguments:
        trains: names of the models whose parameters this update changes; `call(batch)` runs the first one. None: it
            changes what it holds itself alone, such as a discriminator, and `call(batch)` runs the first of the step.
        task: supervised task; None for no supervised loss.
        task_weight: its weight; at 0 the task is not evaluated.
        methods: methods by name.
        weights: a weight per method, 1 where absent.
        sources: sources by name; they stand outside the module tree: eval mode, untouched, no key in any state dict.
    """

    def __init__(
        self,
        trains: Sequence[str] = ("student",),
        task: Task | None = None,
        task_weight: Weight = 1.0,
        methods: Mapping[str, Method] | None = None,
        weights: Mapping[str, Weight] | None = None,
        sources: Mapping[str, Source] | None = None,
    ) -> None:
        super().__init__()
        self.trains = tuple(trains)
        self.task = task
        self.task_weight = task_weight
        self.methods = nn.ModuleDict(methods or {})
        self.weights = {name: (weights or {}).get(name, 1.0) for name in self.methods}
        self.sources = dict(sources or {})

    def forward(self, batch: Batch, call: Call, step: int) -> dict[str, Tensor]:
        """Named losses; `loss` is their weighted sum.

        Arguments:
            batch: the rows.
            call: runs the models of the step.
            step: optimiser step, for weight schedules.
        """
        student = call(batch)
        losses: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        weight = value_at(self.task_weight, step)
        if self.task is not None and weight:
            losses["task"] = self.task.loss(student, batch)
            total = weighted(weight, losses["task"])
        if self.methods:
            said = {name: source.signals(batch, student, call).detach() for name, source in self.sources.items()}
            for name, method in self.methods.items():
                extra = (call,) if method.asks else ()
                for part, value in method(student, said, batch, *extra).items():
                    losses[f"{name}/{part}"] = value
                    part_of_total = weighted(value_at(self.weights[name], step), value)
                    total = part_of_total if isinstance(total, float) else total + part_of_total
        losses["loss"] = total if isinstance(total, Tensor) else torch.zeros(())
        return losses


@dataclass
class Stage:
    """Some steps with the same updates. Selection and patience look at the last stage alone: others prepare for it.

    Arguments:
        updates: updates by name, run in this order in every step.
        data: `train` draws from labelled and unlabelled rows, `labelled` from labelled ones alone.
        share: share of the run's steps.
        after_step: called with the models by name after every step, and after the `after_step` of the sources.
    """

    updates: Mapping[str, Update]
    data: Literal["train", "labelled"] = "train"
    share: float = 1.0
    after_step: Sequence[Callable[[Mapping[str, Bound]], None]] = ()


@dataclass
class Parts:
    """What the engine hands to a scheme.

    Arguments:
        models: models that learn, by name: `student` and those that the scheme asked for.
        sources: sources by name.
        update: makes the recipe's update for one model: `update("student", sources)` has the task, and the recipe's
            methods with adapters measured between that model and those sources.
    """

    models: Mapping[str, Bound]
    sources: Mapping[str, Source]
    update: Callable[[str, Mapping[str, Source]], Update]


class Scheme:
    """Who learns from whom, and when."""

    def extra_models(self) -> Mapping[str, Model]:
        """Further models that learn, besides `student`, by name; the engine binds and builds them."""
        return {}

    def stages(self, parts: Parts, /) -> list[Stage]:
        raise NotImplementedError
