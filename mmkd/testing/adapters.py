"""Checks of adapters."""

from __future__ import annotations

from typing import Any

import torch

from mmkd import registry
from mmkd.layouts import Layout, Spec
from mmkd.registry import Entry
from mmkd.testing.stage import Stages
from mmkd.training.randomness import forked

_STUDENT = {"C": 5, "T": 9, "H": 8, "W": 6, "D": 4}
_TEACHER = {"C": 7, "T": 12, "H": 4, "W": 10, "D": 6}


def form_and_gradient(entry: Entry, stages: Stages) -> None:
    """What it gives has the form that it announces; a gradient reaches its input and each of its parameters."""
    component: Any = registry.load(entry)
    with forked(0, "adapter"):
        given, wanted = _spec(component.source, _STUDENT), _spec(component.target, _TEACHER)
        adapter = component(given, wanted)
        feature = torch.randn(3, *given.shape, requires_grad=True)
        out = adapter(feature)
        out.square().sum().backward()
    assert out.shape == (3, *adapter.spec.shape), f"announced {list(adapter.spec.shape)}, gave {list(out.shape[1:])}"
    assert adapter.spec.layout == component.target, f"announced {adapter.spec.layout}, declared {component.target}"
    assert torch.isfinite(out).all(), "it gives non-finite values"
    assert feature.grad is not None, "no gradient reaches the student's feature"
    assert feature.grad.abs().sum() > 0, "the gradient of the student's feature is 0"
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches the parameter '{name}'"


def _spec(layout: Layout, sizes: dict[str, int]) -> Spec:
    return Spec(layout, tuple(sizes.get(axis, 6) for axis in layout.axes.split()[1:]))
