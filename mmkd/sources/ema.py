"""The student's own past as a source: an exponential moving average (Tarvainen & Valpola 2017, arXiv 1703.01780)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from mmkd.binding import Bound
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd.sources.live import freeze


class EMA(Source):
    """A teacher whose parameters follow the student's: t <- decay * t + (1 - decay) * s after each step.

    Buffers (BatchNorm statistics) are copied. Its state is kept in checkpoints, apart from the student's.

    Arguments:
        decay: share of the old value kept at each step.
        student: the model followed.
    """

    per_row = False

    def __init__(self, knowledge: Knowledge, /, *, decay: float = 0.99, student: str = "student") -> None:
        super().__init__(knowledge)
        if not 0 <= decay < 1:
            raise ConfigError(f"source 'ema': decay {decay} is outside [0, 1)")
        self.decay, self.student = decay, student
        self.model = freeze(copy.deepcopy(knowledge.students[student]))

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        with torch.no_grad():
            return self.model.eval()(batch)

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.model.measure(batch)

    @torch.no_grad()
    def after_step(self, students: Mapping[str, Bound]) -> None:
        followed = students[self.student]
        mine: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(followed.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - self.decay)
        for own, other in zip(self.model.buffers(), followed.buffers(), strict=True):
            own.copy_(other)

    def state(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(state)
