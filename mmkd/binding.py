"""The sensor contract: which fields a model instance reads, and the model bound to them.

By default the required parameters of `forward` are field names (`def forward(self, camera)` reads `camera`). A recipe may
bind otherwise: `inputs = { x = "t1ce" }`; a list concatenates along the channel axis. Optional parameters are passed only if
listed. The binding is read from the raw class once and used in training, evaluation and export alike.
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
from mmkd.taps import Taps, guess_layout

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
        """The keyword arguments of `forward` for a batch."""
        if self.relational:
            whole = batch.view.whole
            pick = {name: whole[name] if name in whole else batch[name] for name in self.fields}
        else:
            pick = {name: batch[name] for name in self.fields}
        return {
            parameter: pick[names[0]] if len(names) == 1 else torch.cat([pick[n] for n in names], self.axes[parameter])
            for parameter, names in self.inputs.items()
        }


def bind(forward: Any, fields: Mapping[str, Field], inputs: InputBinding | None = None, owner: str = "model") -> Binding:
    """Resolve which fields a `forward` reads.

    Arguments:
        forward: the unwrapped function (a class's `forward`; `self` is left out).
        fields: the data set's fields.
        inputs: explicit binding; must cover every required parameter.
        owner: what errors call the model.

    Raises `BindingError` for `*args`/`**kwargs` without a binding, unknown fields or parameters, targets as inputs.
    """
    parameters = [p for p in inspect.signature(forward).parameters.values() if p.name != "self"]
    variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in named if p.default is p.empty]
    if variadic and inputs is None:
        raise BindingError(f"{owner}: forward takes *args or **kwargs, so its fields cannot be read from its signature",
                           'bind them: inputs = { x = "field" }')  # fmt: skip
    wanted: dict[str, tuple[str, ...]] = {name: (name,) for name in required}
    for name, value in (inputs or {}).items():
        if not variadic and name not in {p.name for p in named}:
            raise BindingError(f"{owner}: inputs names '{name}', but forward has {', '.join(p.name for p in named)}")
        wanted[name] = (value,) if isinstance(value, str) else tuple(value)
    if not wanted:
        raise BindingError(f"{owner}: forward reads nothing")
    axes = {}
    for parameter, names in wanted.items():
        for name in names:
            if name not in fields:
                raise BindingError(f"{owner}: parameter '{parameter}' reads field '{name}', which the data does not have",
                                   f"bind it: inputs = {{ {parameter} = \"...\" }}; fields: {', '.join(fields)}")  # fmt: skip
            if fields[name].target:
                raise BindingError(f"{owner}: field '{name}' is a label and cannot be an input")
        if len(names) > 1:
            axes[parameter] = _concatenation_axis(names, fields, owner)
    relational = any(fields[name].kind == "relation" for names in wanted.values() for name in names)
    return Binding(wanted, axes, relational)


def _concatenation_axis(names: tuple[str, ...], fields: Mapping[str, Field], owner: str) -> int:
    layouts = {fields[name].layout for name in names}
    if len(layouts) != 1 or not next(iter(layouts)):
        raise BindingError(f"{owner}: fields {', '.join(names)} cannot be concatenated: layouts {sorted(layouts)}")
    return layout_named(next(iter(layouts))).channel_axis


def input_fields(binding: Binding, fields: Mapping[str, Field]) -> dict[str, Field]:
    """The field of each parameter, for a model's constructor; concatenated fields show their joint channel count."""
    joint = {}
    for parameter, names in binding.inputs.items():
        first = fields[names[0]]
        if len(names) > 1:
            axis = binding.axes[parameter] - 1
            sizes = [fields[name].shape[axis] for name in names]
            if None in sizes:
                raise BindingError(f"fields {', '.join(names)} have no fixed channel count to concatenate")
            shape = list(first.shape)
            shape[axis] = sum(size for size in sizes if size is not None)
            first = Field(tuple(shape), first.dtype, first.layout)
        joint[parameter] = first
    return joint


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
        with self.taps.record() as features:
            raw = Signals.of(self.module(**self.binding.gather(batch)))
        signals = Signals(raw.outputs, features)
        if not self.binding.relational:
            return signals
        rows = len(batch.view.dataset)
        # A relational model answers for all rows; the batch is asked about a few of them.
        return signals.map(lambda tensor: tensor.index_select(0, batch.index) if len(tensor) == rows else tensor)

    @torch.no_grad()
    def measure(self, batch: Batch) -> Specs:
        """Sizes and layouts of outputs and features from one dry run in eval mode; nothing in the model changes."""
        training = self.training
        self.eval()
        try:
            self.taps.clones = {role: True for role in self.taps.paths}
            signals = self(batch)
            self.taps.clones = self.taps.overwritten()
        finally:
            self.train(training)
        features = {role: self._spec(role, tensor) for role, tensor in signals.features.items()}
        outputs = {name: self._output_spec(name, tensor) for name, tensor in signals.outputs.items()}
        return Specs(outputs, features)

    def _spec(self, role: str, tensor: Tensor) -> Spec:
        path, shape = self.taps.paths[role], tuple(tensor.shape[1:])
        if role in self.layouts:
            return Spec(self._declared(role, tensor), shape, path=path)
        try:
            layout = guess_layout(self.taps.module_of(role), tensor, self.binding.relational)
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


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def move(value: Any, device: torch.device | str) -> Any:
    return map_tensors(lambda tensor: tensor.to(device), value)
