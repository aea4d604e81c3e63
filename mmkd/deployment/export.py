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
from mmkd.deployment.runtime import MODEL, Student, conform
from mmkd.deployment.verify import check_ports, compare
from mmkd.deployment.windows import Windows
from mmkd.errors import BindingError, DataError, LayoutError, MmkdError
from mmkd.estimators import Estimator
from mmkd.layouts import layout_named
from mmkd.nested import map_tensors
from mmkd.signals import Signals
from mmkd.tasks.base import Task

EXAMPLE_ROWS = 8

Say = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]
"""The original student: values by parameter to outputs."""


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
    of that name; constants of the data set are stored inside. Where the task slides a window over a sample, the graph
    is that of one window, and the runtime slides. Before anything is written, the runtime predicts real rows in several
    batch sizes and is compared with the original.

    Arguments:
        model: the student, bound.
        batch: real rows; the more, the better the check.
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
    windows = Windows.of(task.describe())
    if windows is not None:
        batch = _in_window(batch, model.binding, windows)
    graph = _graph_tools()
    owner = f"student {type(model if isinstance(model, Estimator) else model.module).__name__}"
    _check_binding(model, fields, owner)
    rows = _Rows(model.binding, batch, fields, owner, windows)
    say = _speaker(model, tuple(task.outputs), owner)
    outputs = say(rows.parameters)
    conform(rows.inputs, rows.declared)
    _check_outputs(task.describe(), outputs, rows.count, owner)

    if isinstance(model, Estimator):
        proto = graph.graft(
            model.to_onnx(), model.binding, rows.inputs, rows.constants, rows.axes, tuple(outputs), owner
        )
    else:
        module = _copied(model.module, owner)
        wrapped = graph.FieldsModule(module, model.binding, tuple(rows.inputs), rows.constants, tuple(outputs))
        proto = graph.trace(wrapped.eval(), rows.for_tracing(), rows.axes, owner, opset)
    graph.check_inputs(proto, tuple(rows.inputs), owner)
    notes = [f"the student is bound to '{name}', but its values reach no output" for name in graph.unused_inputs(proto)]
    notes += [f"the student reads the relation '{name}': its rows depend on each other" for name in rows.relations]
    data = _serialised(proto, owner)

    manifest: dict[str, Any] = {
        "mmkd": __version__,
        "recipe": recipe,
        "student": _described(model, task),
        "reads": list(rows.inputs),
        "bound": {parameter: list(names) for parameter, names in model.binding.inputs.items()},
        "constants": list(rows.constants),
        "fields": rows.declared,
        "outputs": {name: {"shape": value.shape[1:], "dtype": str(value.dtype)} for name, value in outputs.items()},
        "task": task.describe(),
        "warnings": notes,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        "sizes": {MODEL: len(data)},
        "data_licence": data_licence,
        "extra": dict(extra or {}),
    }
    student = Student(manifest, data, threads=1)
    check_ports(student)
    manifest["parity"] = _parity(student, say, rows, tolerance)
    return write_bundle(directory, data, manifest, _examples(say, rows) if examples else None)


class _Rows:
    """Real rows, float32 on the CPU, by field and by the student's parameters.

    Attributes:
        inputs: fields that become inputs of the graph.
        constants: fields that are stored in it.
        parameters: what the binding makes of both.
        declared: the manifest's entries of the inputs.
        axes: names of the axes that vary in size, by input.
        relations: inputs that tie rows.
        count: number of rows.
    """

    def __init__(
        self,
        binding: Binding,
        batch: Batch,
        fields: Mapping[str, Field],
        owner: str,
        windows: Windows | None = None,
    ) -> None:
        alone = Binding({name: (name,) for name in binding.fields}, {}, binding.relational)
        values = map_tensors(_portable, alone.gather(batch))
        self.inputs = {name: value for name, value in values.items() if fields[name].kind != "constant"}
        self.constants = {name: value for name, value in values.items() if fields[name].kind == "constant"}
        self.parameters = map_tensors(_portable, binding.gather(batch))
        self.declared = {name: _declared(name, value, fields[name], owner) for name, value in self.inputs.items()}
        self.axes = {name: _varying(name, entry, windows) for name, entry in self.declared.items()}
        self.relations = [name for name in self.inputs if fields[name].kind == "relation"]
        self._fields = {name: fields[name] for name in self.inputs}
        self._by_parameter = {parameter: fields[names[0]] for parameter, names in binding.inputs.items()}
        samples = [name for name in self.inputs if fields[name].kind == "sample"]
        if not samples:
            raise BindingError(f"{owner} reads no field with a row per sample, only {', '.join(binding.fields)}")
        self.count = len(self.inputs[samples[0]])

    def first(self, count: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The inputs and the parameters of the first rows, with the edges among them."""
        inputs = {name: value.numpy() for name, value in _first(self.inputs, self._fields, count).items()}
        return inputs, _first(self.parameters, self._by_parameter, count)

    def sizes(self) -> list[int]:
        """Numbers of rows to compare at; a relation that cannot be cut leaves only all of them."""
        if not self.relations:
            return sorted({1, (self.count + 1) // 2, self.count})
        cuttable = all(self._fields[name].layout == "edges" for name in self.relations)
        return sorted({(self.count + 1) // 2, self.count}) if cuttable else [self.count]

    def for_tracing(self) -> list[Tensor]:
        """The inputs, at least 2 long in each varying axis: the tracer takes a size of 1 for a fixed one."""
        stretched = []
        for name, value in self.inputs.items():
            for axis in self.axes[name]:
                value = torch.cat([value, value], axis) if value.shape[axis] == 1 else value
            stretched.append(value)
        return stretched


def _first(values: Mapping[str, Any], fields: Mapping[str, Field], count: int) -> dict[str, Any]:
    cut = dict(values)
    for name, value in values.items():
        if fields[name].kind == "sample":
            cut[name] = value[:count]
        elif fields[name].kind == "relation" and fields[name].layout == "edges":
            cut[name] = value[:, (value < count).all(0)]
    return cut


def _portable(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _array(tensor: Tensor) -> Any:
    return tensor.numpy()


def _declared(name: str, value: Any, field: Field, owner: str) -> dict[str, Any]:
    """The manifest's entry of a field that is an input. Raises `BindingError` where it cannot be one."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
        form = f"a {type(value).__name__} of values"
        if isinstance(value, Tensor):
            form = "complex" if value.is_complex() else "sparse"
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
        return {**entry, "axes": layout_named(field.layout).axes}
    except LayoutError:  # a plugin's layout, or none declared
        return entry


def _in_window(batch: Batch, binding: Binding, windows: Windows) -> Batch:
    """The central window of each row of what the student reads."""
    return batch.replace(**{name: windows.centre(batch[name]) for name in binding.fields if name in batch.samples})


def _varying(name: str, entry: Mapping[str, Any], windows: Windows | None) -> dict[int, str]:
    """Names of the axes of an input that vary in size: `batch`, and `field.T` for one that its field leaves open."""
    offset = 1 if entry["kind"] == "sample" else 0
    letters = entry.get("axes", "").split()
    axes = {0: "batch"} if offset else {}
    shape = entry["shape"] if windows is None else entry["shape"][: -len(windows.size)]  # the graph sees one window
    for axis, size in enumerate(shape, offset):
        if size is None:
            axes[axis] = f"{name}.{letters[axis] if letters else axis}"
    return axes


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
            way_out = f'bind it: inputs = {{ {parameter} = "field" }}'
            raise BindingError(f"{owner} needs '{parameter}', which is bound to no field", way_out)
    for name in model.binding.fields:
        if name not in fields:
            known = f"fields: {', '.join(fields)}"
            raise BindingError(f"{owner} reads field '{name}', which the data does not have", known)
        if fields[name].target:
            raise BindingError(f"{owner} reads the label '{name}', which no deployed student can have")


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
            given = f"it gives {', '.join(outputs)}"
            raise MmkdError(f"{owner} gives no output '{missing[0]}', which the task wants", given)
        return {name: outputs[name] for name in wanted}

    return say


def _copied(module: nn.Module, owner: str) -> nn.Module:
    """A float32 copy on the CPU in eval mode: tracing leaves things behind in a module, so the original is spared."""
    try:
        return copy.deepcopy(module).to("cpu").float().eval()
    except RuntimeError as error:
        raise MmkdError(
            f"{owner} cannot be copied: {str(error).splitlines()[0]}",
            "let it keep no result of forward in an attribute, or detach it",
        ) from error


def _serialised(proto: Any, owner: str) -> bytes:
    try:
        data: bytes = proto.SerializeToString(deterministic=True)
    except ValueError as error:  # protobuf's own limit
        raise MmkdError(f"{owner} is too large for one ONNX file (2 GB)", "export a smaller student") from error
    return data


def _described(model: Bound | Estimator, task: Task) -> dict[str, Any]:
    if isinstance(model, Estimator):
        return {"kind": "estimator", "class": type(model).__name__, **model.describe(task.field.classes)}
    return {"kind": "module", "class": type(model.module).__name__, "parameters": parameter_count(model.module)}


def _check_outputs(task: Mapping[str, Any], outputs: Mapping[str, np.ndarray], rows: int, owner: str) -> None:
    for name, value in outputs.items():
        if value.shape[:1] != (rows,):
            raise MmkdError(
                f"{owner} gives an output '{name}' of shape {list(value.shape)} for a batch of {rows}",
                "let its first axis be that of the rows, also for a single one",
            )
    if task.get("decision") == "argmax" and task.get("classes"):
        scores = outputs[task["output"]].shape[1]
        if scores != len(task["classes"]):
            raise MmkdError(f"{owner} gives {scores} scores, and the task has {len(task['classes'])} classes")


def _parity(student: Student, say: Say, rows: _Rows, tolerance: float) -> dict[str, Any]:
    """Compare the runtime with the original on real rows, and say how far they differ at most."""
    import onnxruntime

    worst: dict[str, dict[str, float]] = {}
    for size in rows.sizes():
        inputs, parameters = rows.first(size)
        for name, entry in compare(say(parameters), student(inputs), tolerance).items():
            worst[name] = {key: max(value, worst.get(name, entry)[key]) for key, value in entry.items()}
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {"rows": rows.sizes(), "outputs": worst, "tolerance": tolerance, **versions}


def _examples(say: Say, rows: _Rows) -> dict[str, np.ndarray]:
    """A few rows and what the original says of them; all rows where a relation cannot be cut."""
    whole = len(rows.sizes()) == 1
    inputs, parameters = rows.first(rows.count if whole else min(EXAMPLE_ROWS, rows.count))
    stored = {f"inputs/{name}": value for name, value in inputs.items()}
    return stored | {f"outputs/{name}": value for name, value in say(parameters).items()}
