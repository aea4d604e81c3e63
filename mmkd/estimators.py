"""Estimator students: trees, rule lists, formulas; whatever is fitted in one go and not by gradient steps.

An estimator is bound, evaluated, reported and exported like a module. It sees numpy arrays only:

    class Tree(Estimator):
        reads = ("x",)

        def __init__(self, inputs, outputs, /, *, depth: int = 4): ...
        def fit(self, inputs, labels, signals, valid, query, *, seed): ...
        def predict(self, inputs): return {"logits": ...}
        def to_onnx(self): ...
        def state(self): ...
        def load_state(self, state): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmkd.binding import Binding
from mmkd.data.fields import Field, OutputSpec
from mmkd.data.views import Batch
from mmkd.nested import map_tensors
from mmkd.signals import Signals

if TYPE_CHECKING:
    import onnx

    from mmkd.pictures import Picture

Arrays = Mapping[str, np.ndarray]
"""Arrays by name, one row per sample."""


class Estimator:
    """A student that is fitted and not trained step by step.

    Constructors take `(inputs: Mapping[str, Field], outputs: OutputSpec, /, *, ...configuration)`.

    Attributes:
        reads: its parameters, bound to fields as the required parameters of a module's `forward` are.
        binding: the fields that they read; set by the engine.
        inputs: the field of each parameter.
        outputs: outputs wanted by the task, with their per-sample shapes.
    """

    reads: ClassVar[tuple[str, ...]] = ("x",)
    binding: Binding

    def __init__(self, inputs: Mapping[str, Field], outputs: OutputSpec, /) -> None:
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)

    def fit(
        self,
        inputs: Arrays,
        labels: Arrays,
        signals: Mapping[str, Arrays],
        valid: tuple[Arrays, Arrays],
        query: Callable[[Arrays], dict[str, np.ndarray]],
        *,
        seed: int,
    ) -> None:
        """Learn from the training rows (labelled and unlabelled), replacing what was learnt before.

        Arguments:
            inputs: by parameter, `[N, ...]`.
            labels: targets by field, `[N, ...]`, and the mask `labelled`, bool `[N]`: without it a target is blank.
            signals: the sources' outputs by source and output, `[N, ...]`; empty for the arm that learns alone.
            valid: inputs and labels of the validation rows, for pruning and choosing.
            query: asks the teacher about new inputs (by parameter), e.g. perturbed ones, and gives its outputs.
            seed: the only source of randomness.
        """
        raise NotImplementedError

    def predict(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name, float32, `[N, ...]`; a classifier's `logits` may be log-probabilities."""
        raise NotImplementedError

    def to_onnx(self) -> onnx.ModelProto:
        """`predict` as a graph: inputs named as `reads`, with a free first axis; outputs named as `predict` does."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON values: estimators are saved without pickle."""
        raise NotImplementedError

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave; predictions are then equal."""
        raise NotImplementedError

    def describe(self, classes: Sequence[str]) -> dict[str, Any]:
        """What was learnt, for people, as JSON values: a run and a bundle's manifest hold it, e.g. rules as text.

        Arguments:
            classes: names of the classes; none where the task knows none.
        """
        return {}

    def pictures(self, arm: str, classes: Sequence[str]) -> Sequence[Picture]:
        """What was learnt, drawn for the report. None by default.

        Arguments:
            arm: whose student it is; part of the pictures' names.
            classes: as for `describe`.
        """
        return ()

    def read(self, batch: Batch) -> dict[str, Any]:
        """The arguments of `predict` for a batch, as a module's binding would gather them."""
        return map_tensors(_array, self.binding.gather(batch))

    def split(self, inputs: Arrays, fields: Mapping[str, Field]) -> dict[str, Tensor]:
        """New inputs by parameter as values by field: the inverse of `read`, with the fields' own types."""
        values = {}
        for parameter, names in self.binding.inputs.items():
            rest = torch.as_tensor(inputs[parameter])
            axis = self.binding.axes.get(parameter, 1)
            for name in names:
                part = rest
                if len(names) > 1:
                    size = int(fields[name].shape[axis - 1] or 0)
                    part, rest = rest.narrow(axis, 0, size), rest.narrow(axis, size, rest.shape[axis] - size)
                values[name] = part.to(getattr(torch, fields[name].dtype))
        return values

    def __call__(self, batch: Batch) -> Signals:
        """Predictions for a batch in the form that `Bound` gives: tasks and sources need not tell them apart."""
        outputs = {name: torch.as_tensor(value) for name, value in self.predict(self.read(batch)).items()}
        signals = Signals.of(outputs)
        if not self.binding.relational:
            return signals
        return signals.map(lambda tensor: _rows_of_batch(tensor, batch))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _rows_of_batch(tensor: Tensor, batch: Batch) -> Tensor:
    return tensor.index_select(0, batch.index.cpu()) if len(tensor) == len(batch.view.dataset) else tensor
