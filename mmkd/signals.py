"""Signals: what a model said (outputs) and thought (features) about one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """Outputs and features of one batch, one row per sample of `batch.index`.

    Arguments:
        outputs: named outputs; a model that returns one Tensor says `logits`.
        features: tapped tensors by role (`"penultimate"`, `"stage2"`).
    """

    outputs: Mapping[str, Tensor]
    features: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def logits(self) -> Tensor:
        return self.outputs["logits"]

    def map(self, function: Callable[[Tensor], Tensor]) -> Signals:
        """Apply `function` to every tensor."""
        return Signals(
            {name: function(value) for name, value in self.outputs.items()},
            {role: function(value) for role, value in self.features.items()},
        )

    def detach(self) -> Signals:
        return self.map(Tensor.detach)

    @classmethod
    def of(cls, outputs: Any, features: Mapping[str, Tensor] | None = None) -> Signals:
        """Name raw model outputs: a Tensor is `logits`, a dict keeps its names.

        Raises `TypeError` for anything else: name tuples' parts in the model, so that no method has to guess.
        """
        if isinstance(outputs, Tensor):
            outputs = {"logits": outputs}
        if not isinstance(outputs, Mapping):
            raise TypeError(f"a model returns a Tensor or a dict of named Tensors, not {type(outputs).__name__}")
        return cls(dict(outputs), dict(features or {}))
