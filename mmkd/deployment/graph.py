"""The ONNX graph of a student: traced from a module or taken from an estimator, with the fields as its inputs.

Needs torch and onnx, and is used at export only.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
import torch
from onnx import ModelProto, helper, numpy_helper
from torch import Tensor, nn

from mmkd.binding import Binding
from mmkd.errors import BindingError, MmkdError
from mmkd.signals import Signals

Axes = Mapping[str, Mapping[int, str]]
"""Names of the axes that vary in size, by field and axis."""
# How torch says that a traced model fixes an axis: by position, or by the name that it gives to a positional argument.
_SPECIALISED = re.compile(r"static shape of (\d+) for dimension inputs\[(?:'inputs_)?(\d+)'?\]\.shape\[(\d+)\]")


class FieldsModule(nn.Module):
    """A model as a function of its fields in a fixed order; constants and concatenations are inside.

    Arguments:
        module: the raw model.
        binding: the fields that it reads.
        names: fields that are inputs, in the order of `forward`'s arguments.
        constants: values of the fields that are not.
        outputs: the outputs to return, in order.
    """

    def __init__(
        self,
        module: nn.Module,
        binding: Binding,
        names: Sequence[str],
        constants: Mapping[str, Any],
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        self.module = module
        self.binding = replace(binding, relational=False)  # the values at hand are whole already
        self.names = tuple(names)
        self.constants = dict(constants)
        self.outputs = tuple(outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values: Any = {**self.constants, **dict(zip(self.names, inputs, strict=True))}
        said = Signals.of(self.module(**self.binding.gather(values))).outputs
        return tuple(said[name] for name in self.outputs)


def trace(
    model: FieldsModule, examples: Sequence[Tensor], axes: Axes, owner: str, opset: int | None = None
) -> ModelProto:
    """Trace a model to ONNX with `torch.onnx.export`.

    Arguments:
        model: in eval mode, on the CPU.
        examples: one tensor per field; at least 2 long in every axis that varies.
        axes: axes that vary in size.
        owner: what errors call the model.
        opset: of ONNX; the exporter's own choice by default.

    Raises:
        MmkdError: an operation has no ONNX form, or the model's code fixes the size of an axis.
    """
    # Dim.DYNAMIC, because for a named Dim that the code specialises the exporter falls back to a fixed size silently.
    shapes = tuple(dict.fromkeys(axes.get(name, {}), torch.export.Dim.DYNAMIC) for name in model.names)
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                model,
                tuple(examples),
                dynamo=True,
                verbose=False,
                external_data=False,
                opset_version=opset,
                dynamic_shapes={"inputs": shapes},
            )
        proto: ModelProto = program.model_proto
    except Exception as error:  # whatever the traced code raises
        raise _untraceable(error, model.names, axes, owner) from error
    renamed = dict(zip((value.name for value in proto.graph.input), model.names, strict=True))
    renamed |= dict(zip((value.name for value in proto.graph.output), model.outputs, strict=True))
    _rename(proto.graph, _public_names(renamed))
    _name_axes(proto, axes, owner)
    return _strip(proto)


def graft(
    proto: ModelProto,
    binding: Binding,
    inputs: Mapping[str, Tensor],
    constants: Mapping[str, Any],
    axes: Axes,
    outputs: Sequence[str],
    owner: str,
) -> ModelProto:
    """Put fields before an estimator's parameters: the graph's inputs become the fields, its outputs those wanted.

    Arguments:
        proto: the graph as the estimator gives it.
        binding: the fields of each parameter.
        inputs: an example of each field that is an input.
        constants: values of the fields that are not.
        axes: axes that vary in size.
        outputs: outputs to keep.
        owner: what errors call the estimator.

    Raises:
        BindingError: the graph's inputs are not the estimator's parameters, or a constant is nested.
        MmkdError: it lacks an output.
    """
    proto = _copy(proto)
    graph = proto.graph
    initialised = {tensor.name for tensor in graph.initializer}
    asked = {value.name for value in graph.input} - initialised
    if asked != set(binding.inputs):
        raise BindingError(
            f"{owner}: to_onnx has the inputs {', '.join(sorted(asked))}, and its parameters are"
            f" {', '.join(sorted(binding.inputs))}",
            "name the graph's inputs as in `reads`",
        )
    if nested := [name for name, value in constants.items() if not isinstance(value, Tensor)]:
        raise BindingError(f"{owner} reads the constant '{nested[0]}', which is no plain tensor")
    types = {value.name: value.type for value in graph.output}
    if missing := [name for name in outputs if name not in types]:
        raise MmkdError(f"{owner}: to_onnx has no output '{missing[0]}' (outputs: {', '.join(types)})")
    _rename(graph, lambda name: f"student/{name}" if name else name)
    fronts = [
        helper.make_node("Concat", list(names), [f"student/{parameter}"], axis=binding.axes[parameter])
        if len(names) > 1
        else helper.make_node("Identity", [names[0]], [f"student/{parameter}"])
        for parameter, names in binding.inputs.items()
    ]
    backs = [helper.make_node("Identity", [f"student/{name}"], [name]) for name in outputs]
    nodes = [*fronts, *graph.node, *backs]
    del graph.input[:], graph.output[:], graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value.numpy(), name) for name, value in constants.items())
    for name, example in inputs.items():
        sizes = [axes.get(name, {}).get(axis, size) for axis, size in enumerate(example.shape)]
        element = helper.np_dtype_to_tensor_dtype(example.numpy().dtype)
        graph.input.append(helper.make_tensor_value_info(name, element, sizes))
    graph.output.extend(helper.make_value_info(name, types[name]) for name in outputs)
    return _strip(proto)


def check_inputs(proto: ModelProto, declared: Sequence[str], owner: str) -> None:
    """Raise `BindingError` unless the declared fields, and nothing else inside or outside the file, feed the graph."""
    found = [value.name for value in proto.graph.input]
    if sorted(found) != sorted(declared):
        raise BindingError(
            f"{owner}: the exported graph has the inputs {', '.join(found)}, and the student is bound to"
            f" {', '.join(declared)}"
        )
    for tensor in _tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise BindingError(f"{owner}: the exported graph keeps '{tensor.name}' in a file outside the model")


def unused_inputs(proto: ModelProto) -> list[str]:
    """Inputs whose values reach no output; one that only lends its size is unused too."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    needed: set[str] = set()
    open_ends = [value.name for value in proto.graph.output]
    while open_ends:
        name = open_ends.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers and makers[name].op_type not in ("Shape", "Size"):
            open_ends.extend(_reads(makers[name]))
    return [value.name for value in proto.graph.input if value.name not in needed]


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every name that a node reads, those of the bodies of its branches and loops included."""
    yield from node.input
    for graph in _subgraphs(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (value.name for value in graph.output)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
        for inner in _subgraphs(node):
            yield from _tensors(inner)


def _rename(graph: onnx.GraphProto, rename: Callable[[str], str]) -> None:
    """Rename every value of a graph and of those inside it."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = rename(value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = rename(sparse.values.name)
    for node in graph.node:
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        for inner in _subgraphs(node):
            _rename(inner, rename)


def _public_names(renamed: Mapping[str, str]) -> Callable[[str], str]:
    """Renames inputs and outputs, and moves inner values that happen to have such a name out of the way."""
    public = set(renamed.values())
    return lambda name: renamed.get(name, f"student/{name}" if name in public else name)


def _name_axes(proto: ModelProto, axes: Axes, owner: str) -> None:
    """Give varying axes their names. Raises `MmkdError` for one to which the trace gave a fixed size."""
    symbols: dict[str, str] = {}
    for value in proto.graph.input:
        for axis, name in axes.get(value.name, {}).items():
            size = value.type.tensor_type.shape.dim[axis]
            if not size.dim_param:
                raise _fixed(value.name, name, size.dim_value, owner)
            symbols.setdefault(size.dim_param, name)
    for value in (*proto.graph.input, *proto.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda word: symbols.get(word[0], word[0]), size.dim_param)


def _strip(proto: ModelProto) -> ModelProto:
    """Drop notes that the graph does not need: the exporter writes source lines and paths of this machine into them."""
    del proto.metadata_props[:]
    proto.doc_string = ""
    _strip_graph(proto.graph)
    for function in proto.functions:
        function.doc_string = ""
        del function.metadata_props[:], function.value_info[:]
        _strip_nodes(function.node)
    return proto


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:], graph.value_info[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Sequence[onnx.NodeProto]) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for inner in _subgraphs(node):
            _strip_graph(inner)


def _copy(proto: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    return copy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes, warnings and prints, none of which its user can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _untraceable(error: BaseException, names: Sequence[str], axes: Axes, owner: str) -> MmkdError:
    """One line for what the exporter says in fifty."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for each in causes:
        if found := _SPECIALISED.search(str(each)):
            size, position, axis = map(int, found.groups())
            return _fixed(names[position], axes[names[position]][axis], size, owner)
    first = next((line.strip() for line in str(causes[-1]).splitlines() if line.strip()), type(causes[-1]).__name__)
    return MmkdError(
        f"{owner} cannot be written as ONNX: {first}",
        "use operations that ONNX has, and no Python branches on values of tensors",
    )


def _fixed(field: str, axis: str, size: int, owner: str) -> MmkdError:
    return MmkdError(
        f"{owner} works for one size only: its code fixes the axis '{axis}' of field '{field}' at {size}",
        "compute with tensor.shape instead of remembered sizes and stored rows, or declare the size in the Field",
    )
