"""Export: a trained student becomes a bundle that needs its own fields only, and is proven to."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmkd import __version__
from mmkd.binding import Binding, Bound, parameter_count
from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.deployment.bundle import Bundle, check_place, write_bundle
from mmkd.deployment.runtime import MODEL, Student
from mmkd.deployment.verify import check_ports, compare
from mmkd.errors import BindingError, DataError, LayoutError, MmkdError
from mmkd.estimators import Estimator
from mmkd.layouts import layout_named
from mmkd.nested import map_tensors
from mmkd.signals import Signals
from mmkd.tasks.base import Task

Say = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]
"""The original student: values by parameter to outputs."""

EXAMPLE_ROWS = 8


def export(
    model: Bound | Estimator,
    batch: Batch,
    fields: Mapping[str, Field],
    task: Task,
    directory: str | os.PathLike[str],
    *,
    recipe: str = "",
    data_licence: str = "",
    examples: bool = True,
    tolerance: float = 1e-5,
    opset: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a student as a bundle whose only inputs are the fields that it is bound to.

    The graph is made of a float32 copy on the CPU in eval mode; the model itself is not touched. Each field is an input
    of that name; constants of the data set are stored inside. Before anything is written, the runtime predicts real
    rows in several batch sizes and is compared with the original.

    Arguments:
        model: the student, bound.
        batch: real rows, the more the better the check; at least 2.
        fields: of the data set.
        task: gives the outputs to keep and what the manifest says of inference.
        directory: the bundle's; absent, empty, or an older bundle, which is replaced.
        recipe: that the student comes from, for the manifest.
        data_licence: of the data that it was trained on, for the manifest.
        examples: store a few rows for `verify`; not where the licence of the data forbids to pass rows on.
        tolerance: largest difference from the original allowed, absolute for outputs up to 1 and relative beyond.
        opset: of ONNX.
        extra: JSON values for the manifest, e.g. the verdict.

    Raises:
        BindingError: the student needs a field that it isn't bound to, or reads one that cannot be an ONNX input, or
            the graph's inputs are not exactly its fields.
        DataError: the rows are not of the form that their fields declare.
        MmkdError: onnx or onnxruntime is absent, the student has no ONNX form, or onnxruntime computes something else.
        StorageError: the directory holds something else, or the disk refuses.
    """
    check_place(directory)
    graph = _graph_tools()
    owner = f"student {type(model if isinstance(model, Estimator) else model.module).__name__}"
    binding = model.binding
    _check_binding(model, fields, owner)
    alone = Binding({name: (name,) for name in binding.fields}, {}, binding.relational)
    values = map_tensors(_portable, alone.gather(batch))
    inputs = {name: value for name, value in values.items() if fields[name].kind != "constant"}
    constants = {name: value for name, value in values.items() if fields[name].kind == "constant"}
    declared = {name: _declared(name, value, fields[name], owner) for name, value in inputs.items()}
    rows = next((len(inputs[name]) for name, field in declared.items() if field["kind"] == "sample"), 0)
    if not rows:
        raise BindingError(f"{owner} reads no field with a row per sample", f"it reads {', '.join(binding.fields)}")
    axes = {name: _varying(name, field) for name, field in declared.items()}
    say = _speaker(model, tuple(task.outputs), owner)
    parameters = map_tensors(_portable, binding.gather(batch))
    kinds = {parameter: fields[names[0]] for parameter, names in binding.inputs.items()}
    outputs = say(parameters)

    if isinstance(model, Estimator):
        proto = graph.graft(model.to_onnx(), binding, inputs, constants, axes, tuple(outputs), owner)
    else:
        wrapped = graph.FieldsModule(_copied(model.module, owner), binding, tuple(inputs), constants, tuple(outputs))
        stretched = [_stretched(value, axes[name]) for name, value in inputs.items()]
        proto = graph.trace(wrapped.eval(), stretched, axes, owner, opset)
    graph.check_inputs(proto, tuple(inputs), owner)
    notes = [f"the student is bound to '{name}', but its values reach no output" for name in graph.unused_inputs(proto)]
    relations = [name for name, field in declared.items() if field["kind"] == "relation"]
    notes += [
        f"the student reads the relation '{name}', so its rows cannot be predicted one by one" for name in relations
    ]
    try:
        data = proto.SerializeToString(deterministic=True)
    except ValueError as error:  # protobuf's own limit
        raise MmkdError(f"{owner} is too large for one ONNX file (2 GB)", "use a smaller student") from error

    manifest: dict[str, Any] = {
        "mmkd": __version__,
        "recipe": recipe,
        "student": _described(model),
        "reads": list(inputs),
        "bound": {parameter: list(names) for parameter, names in binding.inputs.items()},
        "constants": list(constants),
        "fields": declared,
        "outputs": {name: {"shape": value.shape[1:], "dtype": str(value.dtype)} for name, value in outputs.items()},
        "task": task.describe(),
        "warnings": notes,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        "sizes": {MODEL: len(data)},
        "data_licence": data_licence,
        "extra": dict(extra or {}),
    }
    _check_classes(manifest, owner)
    student = Student(manifest, data, threads=1)
    check_ports(student)
    sizes = _sizes(rows, relations, declared)
    manifest["parity"] = _parity(student, say, inputs, parameters, fields, kinds, sizes, tolerance)
    stored = None
    if examples:
        few = min(EXAMPLE_ROWS, sizes[-1]) if len(sizes) > 1 or not relations else rows
        stored = {f"inputs/{name}": value.numpy() for name, value in _first_rows(inputs, fields, few).items()}
        stored |= {f"outputs/{name}": value for name, value in say(_first_rows(parameters, kinds, few)).items()}
    return write_bundle(directory, data, manifest, stored)


def _graph_tools() -> Any:
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)

        from mmkd.deployment import graph
    except ImportError as error:
        if (error.name or "").startswith("mmkd"):
            raise
        raise MmkdError(f"export needs the package '{error.name}'", "pip install 'mmkd[deploy]'") from error
    return graph


def _check_binding(model: Bound | Estimator, fields: Mapping[str, Field], owner: str) -> None:
    """Raise `BindingError` where the student needs what it isn't bound to, or is bound to what it may not read."""
    if isinstance(model, Estimator):
        required = list(model.reads)
    else:
        named = inspect.signature(model.module.forward).parameters.values()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        required = [p.name for p in named if p.default is p.empty and p.kind not in variadic]
    for parameter in required:
        if parameter not in model.binding.inputs:
            raise BindingError(f"{owner} needs '{parameter}', which is bound to no field",
                               f'bind it: inputs = {{ {parameter} = "field" }}')  # fmt: skip
    for name in model.binding.fields:
        if name not in fields:
            raise BindingError(
                f"{owner} reads field '{name}', which the data does not have", f"fields: {', '.join(fields)}"
            )
        if fields[name].target:
            raise BindingError(f"{owner} reads the label '{name}', which no deployed student can have")


def _portable(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _array(tensor: Tensor) -> Any:
    return tensor.numpy()


def _declared(name: str, value: Any, field: Field, owner: str) -> dict[str, Any]:
    """The manifest's entry of a field that is an input. Raises `BindingError` where it cannot be one."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
        form = "nested values" if isinstance(value, Mapping) else f"a {type(value).__name__}"
        if isinstance(value, Tensor):
            form = "complex numbers" if value.is_complex() else "a sparse tensor"
        raise BindingError(
            f"{owner} reads the {field.kind} '{name}', which is {form} and cannot be an ONNX input",
            "bind it to fields that are plain tensors",
        )
    shape = list(field.shape)
    if field.layout == "edges":
        shape[1:] = [None]  # another graph has other edges
    sizes = list(value.shape[1:] if field.kind == "sample" else value.shape)
    if len(sizes) != len(shape) or any(size not in (None, n) for size, n in zip(shape, sizes, strict=True)):
        raise DataError(f"field '{name}' is declared with shape {list(field.shape)} and has {sizes}", "mend its Field")
    entry = {**field.manifest(), "shape": shape, "dtype": str(value.dtype).removeprefix("torch."), "kind": field.kind}
    try:
        entry["axes"] = layout_named(field.layout).axes
    except LayoutError:  # a plugin's layout, or none declared
        entry.pop("axes", None)
    return entry


def _varying(name: str, field: Mapping[str, Any]) -> dict[int, str]:
    """Names of the axes of an input that vary in size: `batch`, and `field.T` for one that its field leaves open."""
    offset = 1 if field["kind"] == "sample" else 0
    letters = field.get("axes", "").split()
    axes = {0: "batch"} if offset else {}
    for axis, size in enumerate(field["shape"], offset):
        if size is None:
            axes[axis] = f"{name}.{letters[axis] if axis < len(letters) else axis}"
    return axes


def _speaker(model: Bound | Estimator, wanted: tuple[str, ...], owner: str) -> Say:
    """The original, in float32 on the CPU, as a function of its parameters."""
    if isinstance(model, Estimator):

        def call(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
            return dict(model.predict(map_tensors(_array, parameters)))
    else:
        module = _copied(model.module, owner)

        def call(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
            with torch.no_grad():
                return {name: value.numpy() for name, value in Signals.of(module(**parameters)).outputs.items()}

    def say(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = call(parameters)
        if missing := [name for name in wanted if name not in outputs]:
            raise MmkdError(
                f"{owner} gives no output '{missing[0]}', which the task wants", f"it gives {', '.join(outputs)}"
            )
        return {name: outputs[name] for name in wanted}

    return say


def _copied(module: nn.Module, owner: str) -> nn.Module:
    """A float32 copy on the CPU in eval mode: tracing leaves things behind in what it traces."""
    try:
        return copy.deepcopy(module).to("cpu").float().eval()
    except RuntimeError as error:
        raise MmkdError(
            f"{owner} cannot be copied: {str(error).splitlines()[0]}",
            "let it keep no result of forward in an attribute, or detach it",
        ) from error


def _stretched(value: Tensor, axes: Mapping[int, str]) -> Tensor:
    """An example at least 2 long in each varying axis: the tracer takes a size of 1 for a fixed one."""
    for axis in axes:
        if value.shape[axis] == 1:
            value = torch.cat([value, value], axis)
    return value


def _sizes(rows: int, relations: list[str], declared: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Numbers of rows to compare at; a relation that cannot be cut leaves only all of them."""
    if not relations:
        return sorted({1, (rows + 1) // 2, rows})
    if any(declared[name].get("layout") != "edges" for name in relations):
        return [rows]
    return sorted({(rows + 1) // 2, rows})


def _first_rows(values: Mapping[str, Any], kinds: Mapping[str, Field], count: int) -> dict[str, Any]:
    """The first rows of every sample field, and the edges among them."""
    cut = dict(values)
    for name, value in values.items():
        if kinds[name].kind == "sample":
            cut[name] = value[:count]
        elif kinds[name].kind == "relation" and kinds[name].layout == "edges":
            cut[name] = value[:, (value < count).all(0)]
    return cut


def _parity(student: Student, say: Say, inputs: Mapping[str, Tensor], parameters: Mapping[str, Any],
            fields: Mapping[str, Field], kinds: Mapping[str, Field], sizes: list[int],
            tolerance: float) -> dict[str, Any]:  # fmt: skip
    """Compare the runtime with the original on real rows, and say how far they differ at most."""
    import onnxruntime

    worst: dict[str, dict[str, float]] = {}
    for size in sizes:
        found = student({name: value.numpy() for name, value in _first_rows(inputs, fields, size).items()})
        for name, entry in compare(say(_first_rows(parameters, kinds, size)), found, tolerance).items():
            worst[name] = {key: max(value, worst.get(name, entry)[key]) for key, value in entry.items()}
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {"rows": sizes, "outputs": worst, "tolerance": tolerance, **versions}


def _described(model: Bound | Estimator) -> dict[str, Any]:
    if isinstance(model, Estimator):
        return {"kind": "estimator", "class": type(model).__name__}
    return {"kind": "module", "class": type(model.module).__name__, "parameters": parameter_count(model.module)}


def _check_classes(manifest: Mapping[str, Any], owner: str) -> None:
    task = manifest["task"]
    if task.get("decision") == "argmax" and task.get("classes"):
        scores = manifest["outputs"][task["output"]]["shape"][0]
        if scores != len(task["classes"]):
            raise MmkdError(f"{owner} gives {scores} scores, and the task has {len(task['classes'])} classes")
