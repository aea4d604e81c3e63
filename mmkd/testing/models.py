"""Checks of models: in the place that a recipe gives them, as student or as source."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from mmkd.deployment.export import export
from mmkd.estimators import Estimator
from mmkd.registry import Entry
from mmkd.testing.checks import NotApplicable
from mmkd.testing.stage import Stages
from mmkd.training.step import evaluating


def outputs(entry: Entry, stages: Stages) -> None:
    """It gives every output that the task wants, one row per sample, finite; its taps exist. An estimator predicts the
    same after its state was stored and loaded."""
    placed = stages.placed(entry)
    model, batch = placed.model(), placed.batch()
    if isinstance(model, Estimator):
        placed.fit(model)
        said, again = model(batch).outputs, placed.model()
        assert isinstance(again, Estimator)
        again.load_state(model.state())
        for name, value in again(batch).outputs.items():
            assert torch.equal(value, said[name]), f"output '{name}' differs after the state was loaded"
    else:
        with evaluating(model):
            signals = model(batch)
        said = signals.outputs
        for role, feature in signals.features.items():
            assert torch.isfinite(feature).all(), f"the tap '{role}' gives non-finite values"
    for name, shape in placed.task.outputs.items():
        assert name in said, f"there is no output '{name}'"
        assert len(said[name]) == len(batch.index), f"output '{name}' has {len(said[name])} rows of {len(batch.index)}"
        found = tuple(said[name].shape[1:])
        fits = len(found) == len(shape) and all(w in (None, f) for w, f in zip(shape, found, strict=True))
        assert fits, f"output '{name}' has the shape {list(found)}, and the task wants {list(shape)}"
        assert torch.isfinite(said[name]).all(), f"output '{name}' holds non-finite values"


def deterministic(entry: Entry, stages: Stages) -> None:
    """Built twice from one seed it has the same weights, and other ones from another seed."""
    placed = stages.placed(entry)
    first, second = placed.model(), placed.model()
    if isinstance(first, Estimator) or isinstance(second, Estimator):
        placed.fit(first)
        placed.fit(second)
        batch = placed.batch()
        pairs = zip(first(batch).outputs.values(), second(batch).outputs.values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), "two fits from one seed differ"
        return
    mine, theirs = first.state_dict(), second.state_dict()
    apart = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not apart, f"'{apart[0]}' differs between two models from one seed"


def onnx_parity(entry: Entry, stages: Stages) -> None:
    """Exported, it reads its own fields alone and onnxruntime predicts the same."""
    placed = stages.placed(entry)
    model = placed.model()
    if isinstance(model, Estimator):
        placed.fit(model)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export(model, placed.rows(), placed.experiment.dataset.fields, placed.task, Path(folder, "bundle"))
        assert np.isfinite(bundle.manifest["parity"]["tolerance"])


__all__ = ["NotApplicable", "deterministic", "onnx_parity", "outputs"]
