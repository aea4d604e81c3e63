"""Mixup: the student learns from blends of two samples and of what is said of each.

Zhang et al. 2018, arXiv 1710.09412, section 2; of stored signals too, as Schmid et al. 2023, arXiv 2211.04772.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.schemes.base import Parts, Scheme, Stage, Update
from mmkd.signals import Signals
from mmkd.sources.base import Call


class Mixup(Scheme):
    """As `offline`, but each batch is blended with its own rows in another order, `share * x + (1 - share) * x'`.

    Every loss is the same blend of the losses against both rows' labels and signals, which for losses linear in the
    target, such as cross-entropy, is the loss against the blended target. Sources are asked about the samples as they
    are, so stored signals serve. One share per batch, drawn from Beta(alpha, alpha).

    Arguments:
        alpha: of the Beta distribution.

    Raises:
        ConfigError: the student reads a field that cannot be blended.
    """

    def __init__(self, *, alpha: PositiveFloat = 0.3) -> None:
        self.alpha = alpha

    def stages(self, parts: Parts, /) -> list[Stage]:
        student = parts.models["student"]
        return [Stage({"student": Mixed(parts.update("student", parts.sources), student.binding.fields, self.alpha)})]


class Mixed(Update):
    """An update on blended batches.

    Arguments:
        inner: the update.
        fields: what the student reads; constants among them stay.
        alpha: of the Beta distribution.
    """

    def __init__(self, inner: Update, fields: tuple[str, ...], alpha: float) -> None:
        methods: Any = dict(inner.methods.items())
        super().__init__(inner.trains, inner.task, inner.task_weight, methods, inner.weights, inner.sources)
        self.fields, self.alpha = fields, alpha

    def forward(self, batch: Batch, call: Call, step: int) -> dict[str, Tensor]:
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        partner = torch.randperm(len(batch.index)).to(batch.index.device)
        declared = batch.view.fields
        blended = {
            name: blend(name, batch[name], batch[name][partner], share, declared[name])
            for name in self.fields
            if declared[name].kind != "constant"
        }
        heard = call(batch.replace(**blended))
        one, other = (
            super(Mixed, self).forward(part, _Heard(part, heard, call), step) for part in (batch, batch.take(partner))
        )
        return {name: share * value + (1 - share) * other[name] for name, value in one.items()}


class _Heard:
    """Says of one batch what the student said of its blend, and runs the models on any other."""

    def __init__(self, part: Batch, heard: Signals, call: Call) -> None:
        self.part, self.heard, self.call = part, heard, call

    def __call__(self, batch: Batch, model: str | None = None) -> Signals:
        return self.heard if batch is self.part and model is None else self.call(batch, model)


def blend(name: str, one: Tensor, other: Tensor, share: float, field: Field) -> Tensor:
    """`share * one + (1 - share) * other`; samples of a digital recording are rounded to their own type.

    Raises:
        ConfigError: the values count or name something.
    """
    if field.kind != "sample" or one.dtype in (torch.int64, torch.bool):
        raise ConfigError(f"mixup: the field '{name}' ({field.kind}, {field.dtype}) cannot be blended")
    mixed = share * one + (1 - share) * other
    return mixed.round().to(one.dtype) if not one.is_floating_point() else mixed.to(one.dtype)
