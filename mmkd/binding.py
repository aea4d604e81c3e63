"""The sensor contract: which fields a model instance reads, and the model bound to them.

By default the required parameters of `forward` are field names (`def forward(self, camera)` reads `camera`). A recipe
may bind otherwise: `inputs = { x = "t1ce" }`; a list concatenates along the channel axis. Optional parameters are
passed only if listed. The binding is read from the raw class once and used in training, evaluation and export alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.errors import BindingError, LayoutError
from mmkd.layouts import Layout, Spec, Specs, layout_named
from mmkd.nested import map_tensors
from mmkd.signals import Signals
from mmkd.taps import Taps, overwrites_in_training

InputBinding = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Binding:
    """Parameter of `forward` -> the fields that it reads, in order.

    Arguments:
        inputs: fields by parameter; several are concatenated along `axes[parameter]`.
        relational: True where a field is a relation: the model then runs on all rows of its view.
    """

    inputs: Mapping[str, tuple[str, ...]]
    axes: Mapping[str, int]
    relational: bool

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field read, without repetition."""
        return tuple(dict.fromkeys(name for names in self.inputs.values() for name in names))

    def gather(self, batch: Batch) -> dict[str, Any]:
        """The keyword arguments of `forward` for a batch.

        Raises `BindingError` where a model that runs on all rows would read a field that was replaced in some.
        """
        if self.relational:
            whole = batch.view.whole
            if changed := sorted(batch.replaced & set(self.fields)):
                if len(batch.index) < len(batch.view.rows):
                    raise BindingError(
                        f"a model that reads a relation runs on all rows of its view, and '{changed[0]}' is replaced"
                        " in some",
                        "replace it in a batch of all rows, or replace what row-wise models read alone",
                    )
                whole = {**whole, **{name: whole[name].index_copy(0, batch.index, batch[name]) for name in changed}}
            pick = {name: whole[name] if name in whole else batch[name] for name in self.fields}
        else:
            pick = {name: batch[name] for name in self.fields}
        return {
            parameter: pick[names[0]] if len(names) == 1 else torch.cat([pick[n] for n in names], self.axes[parameter])
            for parameter, names in self.inputs.items()
        }


def bind(
    forward: Any, fields: Mapping[str, Field], inputs: InputBinding | None = None, owner: str = "model"
) -> Binding:
    """Resolve which fields a `forward` reads.

    Arguments:
        forward: the unwrapped function (a class's `forward`; `self` is left out).
        fields: the data set's fields.
        inputs: explicit binding; a required parameter that it leaves out reads the field of its own name.
        owner: what errors call the model.

    Raises `BindingError` for `*args`/`**kwargs` without a binding, parameters that take no name, unknown fields or
    parameters, targets as inputs.
    """
    parameters = [p for p in inspect.signature(forward).parameters.values() if p.name != "self"]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if unnamed := [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]:
        raise BindingError(
            f"{owner}: forward takes {', '.join(unnamed)} by position alone, and fields are passed by name",
            "remove the `/` from its signature",
        )
    if len(named) < len(parameters) and inputs is None:
        raise BindingError(
            f"{owner}: forward takes *args or **kwargs, so its fields cannot be read from its signature",
            'bind them: inputs = { x = "field" }',
        )
    allowed = None if any(p.kind is p.VAR_KEYWORD for p in parameters) else {p.name for p in named}
    return bind_names([p.name for p in named if p.default is p.empty], fields, inputs, owner, allowed)


def bind_names(
    required: Sequence[str],
    fields: Mapping[str, Field],
    inputs: InputBinding | None = None,
    owner: str = "model",
    allowed: set[str] | None = None,
) -> Binding:
    """Resolve a binding from parameter names, as `bind` does from a signature.

    Arguments:
        required: parameters that are bound to the field of their own name unless `inputs` says otherwise.
        allowed: every parameter that there is; None: any.
    """
    wanted: dict[str, tuple[str, ...]] = {name: (name,) for name in required}
    for name, value in (inputs or {}).items():
        if allowed is not None and name not in allowed:
            known = ", ".join(sorted(allowed)) or "unnamed"
            raise BindingError(f"{owner}: inputs names '{name}', but its parameters are {known}")
        wanted[name] = (value,) if isinstance(value, str) else tuple(value)
        if not wanted[name]:
            raise BindingError(f"{owner}: inputs gives parameter '{name}' an empty list of fields")
    if not wanted:
        raise BindingError(f"{owner}: forward reads nothing")
    axes = {}
    for parameter, names in wanted.items():
        for name in names:
            if name not in fields:
                raise BindingError(
                    f"{owner}: parameter '{parameter}' reads field '{name}', which the data does not have",
                    f'bind it: inputs = {{ {parameter} = "..." }}; fields: {", ".join(fields)}',
                )
            if fields[name].target:
                raise BindingError(f"{owner}: field '{name}' is a label and cannot be an input")
        if len(names) > 1:
            axes[parameter] = _concatenation_axis(names, fields, owner)
    relational = any(fields[name].kind == "relation" for names in wanted.values() for name in names)
    return Binding(wanted, axes, relational)


def _concatenation_axis(names: tuple[str, ...], fields: Mapping[str, Field], owner: str) -> int:
    """The channel axis of fields that agree in everything else."""
    error = f"{owner}: fields {', '.join(names)} cannot be concatenated: "
    layouts = sorted({fields[name].layout or "undeclared" for name in names})
    if len(layouts) != 1 or layouts == ["undeclared"]:
        raise BindingError(f"{error}layout {' and '.join(layouts)}", "declare one layout for them in the data set")
    kinds = {fields[name].kind for name in names}
    if kinds != {"sample"}:
        raise BindingError(f"{error}only fields with one row per sample can be, not a {min(kinds - {'sample'})}")
    axis = layout_named(layouts[0]).channel_axis
    others = {(*shape[: axis - 1], *shape[axis:]) for shape in (fields[name].shape for name in names)}
    if len(others) > 1:
        shapes = ", ".join(f"{name} {list(fields[name].shape)}" for name in names)
        raise BindingError(f"{error}they differ in more than channels: {shapes}")
    return axis


def input_fields(binding: Binding, fields: Mapping[str, Field]) -> dict[str, Field]:
    """The field of each parameter, for a model's constructor; concatenated fields show their joint channel count."""
    parts = {parameter: [fields[name] for name in names] for parameter, names in binding.inputs.items()}
    return {name: _joint(some, binding.axes[name]) if len(some) > 1 else some[0] for name, some in parts.items()}


def _joint(parts: Sequence[Field], axis: int) -> Field:
    """The field of parts concatenated along `axis`; it says what all of them say."""
    sizes = [part.shape[axis - 1] for part in parts]
    if None in sizes:
        raise BindingError("fields without a fixed channel count cannot be concatenated", "bind one of them")
    shape = list(parts[0].shape)
    shape[axis - 1] = sum(size for size in sizes if size is not None)
    agreed = {name: value for name, value in vars(parts[0]).items() if all(vars(part)[name] == value for part in parts)}
    moments = [part.normalisation for part in parts if part.normalisation is not None]
    joint = tuple(tuple(value for both in moments for value in both[which]) for which in (0, 1))
    named = all(part.channels for part in parts)
    agreed["channels"] = tuple(name for part in parts for name in part.channels) if named else ()
    return Field(**{**agreed, "shape": tuple(shape), "normalisation": joint if len(moments) == len(parts) else None})


class Bound(nn.Module):
    """A model with its binding and taps: `bound(batch)` gives `Signals`.

    Arguments:
        module: the raw model.
        binding: the fields that it reads.
        taps: module path per role; defaults to the model's own `taps`.
        layouts: declared layout per role, or of an output by its name; defaults to the model's own `layouts`.
    """

    def __init__(
        self,
        module: nn.Module,
        binding: Binding,
        taps: Mapping[str, str] | None = None,
        layouts: Mapping[str, str | Layout] | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.binding = binding
        self.taps = Taps(module, {**getattr(module, "taps", {}), **(taps or {})})
        self.layouts = {**getattr(module, "layouts", {}), **(layouts or {})}

    def forward(self, batch: Batch) -> Signals:
        inputs = self.binding.gather(batch)
        if self.taps.paths:
            with self.taps.record() as features:
                outputs = self.module(**inputs)
        else:
            features, outputs = {}, self.module(**inputs)
        signals = Signals.of(outputs, features)
        if not self.binding.relational:
            return signals
        rows = len(batch.view.dataset)
        # A relational model answers for all rows; the batch is asked about a few of them.
        return signals.map(lambda x: x.index_select(0, batch.index) if x.dim() and len(x) == rows else x)

    @torch.no_grad()
    def measure(self, batch: Batch) -> Specs:
        """Sizes and layouts of outputs and features from one dry run in eval mode; nothing in the model changes.

        It also finds out which taps must be cloned. Raises `LayoutError` for a signal whose axis 0 is neither the batch
        nor, in a model that reads a relation, the rows of the data set (nodes of another type), and for a layout that
        is declared for neither a tap nor an output.
        """
        modes = {part: part.training for part in self.modules()}
        self.eval()
        try:
            self.taps.clones = set(self.taps.paths)
            signals = self(batch)
        finally:
            for part, mode in modes.items():
                part.training = mode
        if not overwrites_in_training(self.module):
            self.taps.clones = set(self.taps.overwritten)
        _check_rows(signals, len(batch.index), self.binding.relational)
        if unknown := sorted(set(self.layouts) - self.taps.roles - set(signals.outputs)):
            known = f"known: {', '.join([*sorted(self.taps.roles), *signals.outputs])}"
            raise LayoutError(f"a layout is declared for '{unknown[0]}', which is no tap and no output", known)
        features = {role: self._spec(role, tensor) for role, tensor in signals.features.items()}
        outputs = {name: self._output_spec(name, tensor) for name, tensor in signals.outputs.items()}
        return Specs(outputs, features)

    def _spec(self, role: str, tensor: Tensor) -> Spec:
        path, shape = self.taps.paths[role], tuple(tensor.shape[1:])
        if role in self.layouts:
            return Spec(self._declared(role, tensor), shape, path=path)
        try:
            layout = self.taps.guess(role, tensor, self.binding.relational)
        except LayoutError as error:
            return Spec(None, shape, path=path, ambiguity=f"tap '{role}' at '{path}': {error.cause}")
        return Spec(layout, shape, guessed=True, path=path)

    def _output_spec(self, name: str, tensor: Tensor) -> Spec:
        shape = tuple(tensor.shape[1:])
        return Spec(self._declared(name, tensor), shape) if name in self.layouts else Spec(None, shape)

    def _declared(self, role: str, tensor: Tensor) -> Layout:
        value = self.layouts[role]
        layout = value if isinstance(value, Layout) else layout_named(value)
        if layout.rank != tensor.dim():
            raise LayoutError(f"'{role}' is declared {layout} but has shape {tuple(tensor.shape)}")
        return layout


def _check_rows(signals: Signals, rows: int, relational: bool) -> None:
    """Every signal has one row per sample, or no axis at all."""
    rule, way_out = "axis 0 must be the batch", "build the model so, e.g. with batch_first=True"
    if relational:
        rule = "it has no row for each row of the data set, as the nodes of another type have none"
        way_out = "tap a module that says it row by row, e.g. what a row's neighbours of that type are on average"
    for kind, tensors in (("output", signals.outputs), ("tap", signals.features)):
        for name, tensor in tensors.items():
            if tensor.dim() and len(tensor) != rows:
                what = f"{kind} '{name}' has shape {tuple(tensor.shape)} for a batch of {rows}"
                raise LayoutError(f"{what}: {rule}", way_out)


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def move(value: Any, device: torch.device | str) -> Any:
    return map_tensors(lambda tensor: tensor.to(device), value)
