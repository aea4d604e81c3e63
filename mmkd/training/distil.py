"""A `Step` for people who bring their own models and their own loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.binding import Bound, InputBinding, bind
from mmkd.components import Factory, configuration, validate
from mmkd.data.datasets import Dataset
from mmkd.data.fields import Field
from mmkd.data.views import View
from mmkd.errors import ConfigError
from mmkd.methods.base import Method
from mmkd.schemes.base import Update, Weight
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.tasks.base import Task
from mmkd.training.step import Step


def distil(
    student: nn.Module,
    teacher: nn.Module,
    data: Dataset | Mapping[str, Tensor],
    methods: Sequence[str | type[Method] | Mapping[str, Any]] = ("soft-targets",),
    *,
    task: Task | None = None,
    task_weight: Weight = 1.0,
    student_inputs: InputBinding | None = None,
    teacher_inputs: InputBinding | None = None,
) -> tuple[Step, View]:
    """A step that teaches `student` from `teacher`, and the view to draw batches from.

    Both models read the fields that their `forward` names (or that the bindings say), so a teacher may read more than
    the student. The optimiser must be given `step.parameters()`: the student's and the adapters'.

    Arguments:
        student, teacher: raw modules; the teacher is frozen.
        data: a data set, or tensors by field name with one row per sample; all rows are drawn, `label` is no input.
        methods: names, or tables such as `{"use": "rkd", "role": "penultimate", "weight": 0.1}`; in place of a name a
            `Method` class of your own, which need not be registered. `name` tells two uses of one method apart.
        task: supervised task on the labelled rows; None: methods alone.
        task_weight: its weight.
        student_inputs, teacher_inputs: explicit bindings.

    Returns:
        The step (`step(batch)["loss"]`; `step.models["student"]` is what `mmkd.export` takes) and a view
        (`view.batches(size)`).

    Raises `ConfigError` for two methods of one name or a wrong setting, `BindingError` and `LayoutError` where a model
    reads a field that is not there or features cannot be aligned.
    """
    dataset = data if isinstance(data, Dataset) else _in_memory(data)
    rows = torch.arange(len(dataset))
    view = View(dataset, rows, rows if task else rows[:0])
    batch = view.batch(rows[:2])
    bound = Bound(student, bind(student.forward, dataset.fields, student_inputs, "student"))
    said = Bound(teacher, bind(teacher.forward, dataset.fields, teacher_inputs, "teacher"))
    source = Live(Knowledge(dataset, [said]))
    measured = bound.measure(batch), {"teacher": source.measure(batch)}
    weights: dict[str, Weight] = {}
    built: dict[str, Method] = {}
    for given in methods:
        table: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"use": given}
        use = table["use"]
        name = table.pop("name", use if isinstance(use, str) else use.__name__)
        if name in built:
            raise ConfigError(f"two methods are called '{name}'", f'name one: {{"use": ..., "name": "{name}-2"}}')
        weights[name] = table.pop("weight", 1.0)
        built[name] = _factory(table)(*measured)
    update = Update(["student"], task, task_weight, built, weights, {"teacher": source})
    return Step({"student": bound}, {"student": update}), view


def _factory(table: Mapping[str, Any]) -> Callable[..., Method]:
    """A registered method by its name, or a class; the settings of either are checked against its signature."""
    use = table["use"]
    if isinstance(use, str):
        return Factory("methods", table)
    settings = {key: value for key, value in table.items() if key != "use"}
    return partial(use, **validate(configuration(use), settings, "methods", use.__name__))


def _in_memory(tensors: Mapping[str, Tensor]) -> Dataset:
    fields = {
        name: Field(tuple(value.shape[1:]), str(value.dtype).removeprefix("torch."), target=name == "label")
        for name, value in tensors.items()
    }
    return Dataset(fields, tensors)
