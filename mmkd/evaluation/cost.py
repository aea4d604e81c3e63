"""What a model costs: parameters, bytes, FLOPs, training time, latency."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmkd.binding import Bound, parameter_count
from mmkd.data.views import Batch, View
from mmkd.estimators import Estimator
from mmkd.training.loader import example
from mmkd.training.loop import Fitted
from mmkd.training.step import evaluating


def of_models(models: Sequence[Bound | Estimator], view: View, fits: Sequence[Fitted], timed: bool) -> dict[str, Any]:
    """Costs of an arm's models, summed.

    FLOPs are counted by torch (dense products alone; sparse ones are not seen) on one forward; training counts three
    forwards per row drawn.
    """
    modules = [model for model in models if isinstance(model, Bound)]
    result: dict[str, Any] = {
        "training_seconds": sum(fit.seconds for fit in fits),
        "steps": [fit.steps for fit in fits],
    }
    if not modules:
        return result
    result["parameters"] = sum(parameter_count(model.module) for model in modules)
    result["bytes"] = sum(t.numel() * t.element_size() for m in modules for t in m.module.state_dict().values())
    batch = example(view, 0, min(64, view.dataset.rows_at_once, len(view.rows)))
    total = 0
    for model, fit in zip(modules, fits, strict=False):
        calls = fit.steps if model.binding.relational else fit.rows_seen / len(batch.index)
        total += int(3 * flops(model, batch) * calls)
    result["training_flops"] = total
    if timed:
        result["latency_ms"] = {str(rows): sum(latency(model, view, rows) for model in modules) for rows in (1, 100)}
    return result


def flops(model: Bound, batch: Batch) -> int:
    """FLOPs of one forward."""
    with evaluating(model), FlopCounterMode(display=False) as counter:
        model(batch)
    return int(counter.get_total_flops())


def latency(model: Bound, view: View, rows: int, repeats: int = 20) -> float:
    """Median milliseconds of one forward over `rows` rows; a relational model runs on all rows of its view."""
    index = view.rows[torch.arange(rows, device=view.rows.device) % len(view.rows)]
    batch = view.batch(index)
    synchronise = torch.cuda.synchronize if view.rows.is_cuda else lambda: None
    times = []
    with evaluating(model):
        for _ in range(repeats + 3):
            synchronise()
            start = time.perf_counter()
            model(batch)
            synchronise()
            times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[3:]))
