"""Run a model over a view and keep what the metrics need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from mmkd.binding import Bound
from mmkd.data.datasets import LazyDataset
from mmkd.data.views import Batch, View
from mmkd.errors import DataError
from mmkd.estimators import Estimator
from mmkd.signals import Signals
from mmkd.sources.base import Source
from mmkd.tasks.base import Records, Task

Predictor = Callable[[Batch], Signals]


def predictor(model: Bound | Estimator | Source) -> Predictor:
    """Any kind of arm as a function of a batch."""
    if isinstance(model, Source):
        return lambda batch: model.signals(batch, None, None)
    return model


def eval_batches(view: View, relational: bool) -> Iterable[Batch]:
    """Batches of a view for evaluation; one batch where every call runs on all rows anyway.

    They can be gone through again and again: those in memory are kept, lazy data is read each time.
    """
    size = max(len(view.rows), 1) if relational else view.dataset.rows_at_once
    return _Reading(view, size) if isinstance(view.dataset, LazyDataset) else list(view.batches(size))


class _Reading:
    """Batches that are read anew whenever somebody goes through them."""

    def __init__(self, view: View, size: int) -> None:
        self.view, self.size = view, size

    def __iter__(self) -> Iterator[Batch]:
        return self.view.batches(self.size)


def collect(task: Task, call: Predictor, batches: Iterable[Batch]) -> Records:
    """Records of all batches, with the row ids as `index`; float32 and lower become float32."""
    parts: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for batch in batches:
            said = task.predict(call, batch)
            _refuse_nan(said, batch)
            kept = task.record(said, batch)
            for name, value in {**kept, "index": batch.index}.items():
                parts.setdefault(name, []).append(_array(value))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _refuse_nan(said: Mapping[str, Any], batch: Batch) -> None:
    """Say which rows gave no number before any metric quietly takes them in."""
    for name, value in said.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
            if len(value) != len(batch.index):
                raise DataError(f"evaluation gave a non-finite '{name}'")
            bad = batch.index[~torch.isfinite(value.reshape(len(value), -1)).all(1)].tolist()
            more = f" and {len(bad) - 8} more" if len(bad) > 8 else ""
            raise DataError(
                f"evaluation gave a non-finite '{name}' for rows {', '.join(map(str, bad[:8]))}{more}",
                "look at these rows' inputs, or at the training that led there",
            )


def score(task: Task, records: Records, groups: np.ndarray | None) -> float:
    """The primary metric; the mean of unit or group scores where it is one, which is cheaper.

    Arguments:
        groups: group id of each record, as `Task.metrics` takes it.
    """
    scores = task.unit_scores(records)
    if scores is None and groups is not None:
        scores = task.group_scores(records, groups)
    if scores is not None:
        return float(scores.mean())
    return task.score(records, groups)


def is_relational(model: Bound | Estimator | Source) -> bool:
    if isinstance(model, Source):
        return model.relational
    return model.binding.relational


def _array(value: Any) -> np.ndarray:
    tensor = value.detach().cpu()
    return tensor.float().numpy() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.numpy()
