"""Run a model over a view and keep what the metrics need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mmkd.binding import Bound
from mmkd.data.views import Batch, View
from mmkd.estimators import Estimator
from mmkd.signals import Signals
from mmkd.sources.base import Source
from mmkd.tasks.base import Records, Task

Predictor = Callable[[Batch], Signals]
_ROWS = 512


def predictor(model: Bound | Estimator | Source) -> Predictor:
    """Any kind of arm as a function of a batch."""
    if isinstance(model, Source):
        return lambda batch: model.signals(batch, None, None)
    if isinstance(model, Estimator):
        def call(batch: Batch) -> Signals:
            inputs = {name: value.cpu().numpy() for name, value in model.binding.gather(batch).items()}
            return Signals({name: torch.as_tensor(value) for name, value in model.predict(inputs).items()})

        return call
    return model


def eval_batches(view: View, relational: bool) -> list[Batch]:
    """Batches of a view for evaluation; one batch where every call runs on all rows anyway."""
    return list(view.batches(max(len(view.rows), 1) if relational else _ROWS))


def collect(task: Task, call: Predictor, batches: Sequence[Batch]) -> Records:
    """Records of all batches, with the row ids as `index`; float32 and lower become float32."""
    parts: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for batch in batches:
            kept = task.record(task.predict(call, batch), batch)
            for name, value in {**kept, "index": batch.index}.items():
                parts.setdefault(name, []).append(_array(value))
    return {name: np.concatenate(values) for name, values in parts.items()}


def score(task: Task, records: Records, groups: np.ndarray | None = None) -> float:
    """The primary metric; the mean of unit scores where it is one, which is cheaper."""
    per_sample = task.unit_scores(records)
    if per_sample is not None and groups is None:
        return float(per_sample.mean())
    return task.metrics(records, groups)[task.primary]


def is_relational(model: Bound | Estimator | Source) -> bool:
    if isinstance(model, Source):
        return model.relational
    return model.binding.relational


def _array(value: Any) -> np.ndarray:
    tensor = value.detach().cpu()
    return tensor.float().numpy() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.numpy()
