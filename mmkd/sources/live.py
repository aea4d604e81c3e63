"""A live model as a source."""

from __future__ import annotations

import hashlib

import torch

from mmkd.binding import Bound
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source


class Live(Source):
    """A trained model, run on every batch in eval mode; its parameters and buffers stay untouched.

    Arguments:
        gradients: `none`, or `inputs` where a loss differentiates through the teacher into its inputs (generators,
            Jacobian matching). Its parameters never get gradients.
    """

    def __init__(self, knowledge: Knowledge, /, *, gradients: str = "none") -> None:
        super().__init__(knowledge)
        if len(knowledge.models) != 1:
            raise ConfigError(
                f"source 'live' takes one model, not {len(knowledge.models)}", 'use = "ensemble" takes several'
            )
        if gradients not in ("none", "inputs"):
            raise ConfigError(f"gradients = '{gradients}' is not known", "none or inputs")
        self.model = freeze(knowledge.models[0])
        self.gradients = gradients
        self._parts = list(self.model.modules())
        self.relational = self.model.binding.relational

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        if any(part.training for part in self._parts):  # a caller's own `train()` must not reach its BatchNorm
            self.model.eval()
        if self.gradients == "inputs":
            return self.model(batch)
        with torch.no_grad():
            return self.model(batch)

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.model.measure(batch)

    def keep(self, roles: set[str]) -> None:
        self.model.taps.keep(roles)

    def fingerprint(self) -> dict[str, object] | None:
        if self.gradients != "none":  # nothing stored can be differentiated
            return None
        return {
            "model": type(self.model.module).__qualname__,
            "weights": weights_hash(self.model),
            "fields": list(self.model.binding.fields),
            "taps": dict(sorted(self.model.taps.paths.items())),
        }


def freeze(model: Bound) -> Bound:
    """Eval mode, and no gradient into any parameter."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 over names and bytes of parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
