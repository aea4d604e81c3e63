"""Checks of methods: two steps of a recipe that uses the method, by its losses alone."""

from __future__ import annotations

import math
from typing import Any

import torch

from mmkd import registry
from mmkd.registry import Entry
from mmkd.testing.checks import NotApplicable
from mmkd.testing.stage import Stages, hands_over


def cited(entry: Entry, stages: Stages) -> None:
    """It says which paper it is from: `citation`."""
    component: Any = registry.load(entry)
    assert getattr(component, "citation", "").strip(), f"{component.__qualname__}.citation is empty"


def finite_scalars(entry: Entry, stages: Stages) -> None:
    """Each loss of each step is one finite number, and the method gives at least one."""
    taught = stages.taught(entry)
    for losses in taught.losses:
        own = {name: value for name, value in losses.items() if "/" in name}
        if not own and hands_over(registry.load(entry)):
            raise NotApplicable("it hands over parts of the source and has no loss")
        assert own, "it gives no loss"
        for name, value in own.items():
            assert math.isfinite(value), f"the loss '{name}' is {value}"


def gradients(entry: Entry, stages: Stages) -> None:
    """The method's losses alone give gradients to the student and to each of its own modules, none to a teacher."""
    taught = stages.taught(entry)
    student = dict(taught.step.models["student"].named_parameters())
    assert any(_moved(parameter) for parameter in student.values()), "no gradient reaches the student"
    for name, parameter in taught.own_parameters():
        assert parameter.grad is not None, f"no gradient reaches '{name}' of the method"
    for teacher in taught.teachers:
        for name, parameter in teacher.named_parameters():
            assert parameter.grad is None, f"a gradient reaches '{name}' of the teacher"


def teacher_untouched(entry: Entry, stages: Stages) -> None:
    """Parameters and buffers of every source are bit for bit what they were, and stay in eval mode."""
    taught = stages.taught(entry)
    if not taught.teachers:
        return
    assert taught.before == taught.after, "parameters or buffers of the teacher changed"
    for teacher in taught.teachers:
        assert not any(part.training for part in teacher.modules()), "the teacher was left in training mode"


def no_teacher_in_state(entry: Entry, stages: Stages) -> None:
    """No tensor of a checkpoint is a teacher's: it neither ships nor is it saved with the student."""
    taught = stages.taught(entry)
    owned = {tensor.data_ptr() for teacher in taught.teachers for tensor in teacher.state_dict().values()} - {0}
    held = [name for name, tensor in taught.step.state_dict().items() if tensor.data_ptr() in owned]
    assert not held, f"the step's state dict holds the teacher's '{held[0]}'"


def deterministic(entry: Entry, stages: Stages) -> None:
    """A second run from the same seed gives the same losses and weights, bit for bit."""
    first, second = stages.taught(entry), stages.teach(entry)
    assert first.losses == second.losses, f"losses differ: {first.losses} and {second.losses}"
    mine, theirs = (taught.step.state_dict() for taught in (first, second))
    apart = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not apart, f"'{apart[0]}' differs between two runs from one seed"


def _moved(parameter: torch.nn.Parameter) -> bool:
    return parameter.grad is not None and bool((parameter.grad != 0).any())
