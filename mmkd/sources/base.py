"""The contract of a source: `Signals` for a batch, whatever they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mmkd.binding import Bound
from mmkd.data.datasets import Dataset
from mmkd.data.fields import OutputSpec
from mmkd.data.views import Batch, View
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals


class Call(Protocol):
    """Runs a model of the step: `call(batch)` the student that learns, `call(batch, "peer")` another by name."""

    def __call__(self, batch: Batch, model: str | None = None) -> Signals: ...


@dataclass
class Knowledge:
    """What the engine hands to a source.

    Arguments:
        models: trained and frozen models of the source's `model` / `models` tables, in order.
        students: the models that learn, by name.
        dataset: the data set.
        outputs: outputs that the task wants.
    """

    dataset: Dataset
    models: Sequence[Bound] = ()
    students: Mapping[str, Bound] = field(default_factory=dict)
    outputs: OutputSpec = field(default_factory=dict)


class Source:
    """Says something about a batch. Not an `nn.Module`: no step holds its weights, no checkpoint its keys.

    Constructors take `(knowledge: Knowledge, /, *, ...)`.

    Attributes:
        per_row: True where the signals are a function of the row alone, so that they can be cached and permuted.
        relational: True where each call runs on all rows of the view, so that few large batches are cheaper.
    """

    per_row = True
    relational = False

    def __init__(self, knowledge: Knowledge, /) -> None:
        self.knowledge = knowledge

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        """Signals of one batch, without gradient into the source.

        Arguments:
            batch: the rows.
            student: what the student said about them; None when the cache is filled.
            call: runs the student on another batch; None when the cache is filled.
        """
        raise NotImplementedError

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        """Forms of the signals, from one dry run."""
        with torch.no_grad():
            said = self.signals(batch, call(batch) if call else None, call)
        return Specs(
            {n: Spec(None, tuple(t.shape[1:])) for n, t in said.outputs.items()},
            {n: Spec(None, tuple(t.shape[1:])) for n, t in said.features.items()},
        )

    def fit(self, valid: View) -> None:
        """Choose what is chosen on validation rows, such as a temperature; once, before the source is asked."""

    def keep(self, roles: set[str]) -> None:
        """Forget the taps that no method reads."""

    def after_step(self, students: Mapping[str, Bound]) -> None:
        """Called after each optimiser step, e.g. to follow the student's moving average."""

    def state(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint must hold for an exact resume; empty for a frozen teacher."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave."""

    def fingerprint(self) -> dict[str, Any] | None:
        """What the signals depend on, for the cache's key; None where they cannot be cached."""
        return None
