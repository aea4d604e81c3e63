"""Taps: forward hooks by module path that collect features, with no change to the model's code.

A path names a module and may reach on into its output: `encoder.2`, `gru.0` (first part of a tuple), `conv.paper` (key
of a dict).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmkd.errors import LayoutError
from mmkd.layouts import MAP, NODES, SERIES, TOKENS, VECTOR, VOLUME, Layout

_SHOWN = 20
_TOKEN_MODULES = (
    nn.Linear,
    nn.LayerNorm,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerEncoder,
    nn.RNNBase,
    nn.Embedding,
)


class Taps:
    """Collects the output of tapped modules during one forward. A module that runs several times gives its last output.

    Until the model has been measured every tapped tensor is cloned; then those alone that in-place operations change.

    Arguments:
        model: the raw model.
        paths: module path per role.

    Attributes:
        paths: module path per role that is collected.
        roles: every role that there was before `keep`.
        clones: roles whose tensors are cloned.
        overwritten: roles whose tensors changed in place after the tap in the last forward, or may have.

    Raises `LayoutError` for a path that leads to no module.
    """

    def __init__(self, model: nn.Module, paths: Mapping[str, str]) -> None:
        self.paths = dict(paths)
        self.roles = frozenset(self.paths)
        self.clones = set(self.paths)
        self.overwritten: set[str] = set()
        self._places = {role: locate(model, path) for role, path in self.paths.items()}

    def keep(self, roles: set[str]) -> None:
        """Forget every tap but these."""
        self.paths = {role: path for role, path in self.paths.items() if role in roles}

    def guess(self, role: str, tensor: Tensor, relational: bool) -> Layout:
        """Guess the layout of a tapped tensor. Raises `LayoutError` where two readings fit."""
        module, keys = self._places[role]
        return guess_layout(module, tensor, relational, keys)

    @contextmanager
    def record(self) -> Iterator[dict[str, Tensor]]:
        """Collect features of the forwards inside the block into the dict that it yields."""
        features: dict[str, Tensor] = {}
        seen: dict[str, tuple[Tensor, int | None]] = {}  # local: a tensor kept here would keep its graph alive
        handles = [self._hook(role, features, seen) for role in self.paths]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()
        for role in sorted(set(self.paths) - set(features)):
            raise LayoutError(f"tap '{role}': module '{self.paths[role]}' did not run in this forward")
        changed = {role for role, (tensor, version) in seen.items() if version not in (None, _version(tensor))}
        self.overwritten = changed | {role for role, (_, version) in seen.items() if version is None}
        for role in sorted(changed - self.clones):
            raise LayoutError(
                f"tap '{role}' at '{self.paths[role]}' was overwritten in place, but not when the model was measured",
                "tap the module that overwrites it",
            )

    def _hook(self, role: str, features: dict[str, Tensor], seen: dict[str, tuple[Tensor, int | None]]) -> Any:
        module, keys = self._places[role]

        def collect(_module: nn.Module, _inputs: Any, output: Any) -> None:
            value = reach(output, keys, role, self.paths[role], module)
            seen[role] = (value, _version(value))
            features[role] = value.clone() if role in self.clones else value

        return module.register_forward_hook(collect)


def _version(tensor: Tensor) -> int | None:
    """Counts in-place changes; an inference tensor has no count."""
    return None if tensor.is_inference() else tensor._version


def overwrites_in_training(model: nn.Module) -> bool:
    """Whether in-place dropout stands in the model: it acts in training alone, so a dry run does not show it."""
    return any("Dropout" in type(part).__name__ and getattr(part, "inplace", False) for part in model.modules())


def locate(model: nn.Module, path: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The module that the longest prefix of `path` names, and the keys that reach on into its output."""
    parts = path.split(".") if path else []
    module: nn.Module = model
    for position, part in enumerate(parts):
        children = dict(module.named_children())
        if part not in children:
            if position == 0:
                raise LayoutError(f"tap path '{path}' names no module of {type(model).__name__}", _listing(model, path))
            return module, tuple(parts[position:])
        module = children[part]
    return module, ()


def _listing(model: nn.Module, path: str, prefix: str = "") -> str:
    """The modules that `path` may have meant: near names first, then the others in order."""
    names = [f"{prefix}{name}" for name, _ in model.named_modules() if name]
    near = difflib.get_close_matches(path, names, 3)
    shown = [*near, *(name for name in names if name not in near)]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"its modules: {', '.join(shown[:_SHOWN]) or 'none'}{more}"


def reach(output: Any, keys: tuple[str, ...], role: str, path: str, module: nn.Module) -> Tensor:
    """Follow keys into tuples and dicts. Raises `LayoutError` naming what is there instead of a tensor."""
    for key in keys:
        try:
            output = output[int(key)] if isinstance(output, tuple | list) else output[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            there = f"a {type(output).__name__}" + (f" of {_parts(output)}" if _parts(output) else "")
            owner = path.removesuffix("." + ".".join(keys)) if path != ".".join(keys) else ""
            raise LayoutError(
                f"tap '{role}': '{path}' does not reach '{key}' in the output, {there}",
                _listing(module, path, f"{owner}." if owner else "") if dict(module.named_children()) else "",
            ) from error
    if not isinstance(output, Tensor):
        raise LayoutError(
            f"tap '{role}' at '{path}' gives a {type(output).__name__} of {_parts(output) or 'no parts'}, not a Tensor",
            f'reach into it: "{path}.0" or "{path}.key"',
        )
    return output


def _parts(output: Any) -> str:
    if isinstance(output, Mapping):
        return ", ".join(f"'{key}'" for key in output)
    return f"{len(output)} parts" if isinstance(output, tuple | list) else ""


def guess_layout(module: nn.Module, tensor: Tensor, relational: bool, keys: tuple[str, ...] = ()) -> Layout:
    """Guess a layout from the module's class, the tensor's rank and the keys that reach into the module's output.

    Raises `LayoutError` where two readings fit. Of a tuple the first part alone is taken for what the class stands for:
    the second of a recurrent network is its last state, `[layers B C]`, that of an attention its weights.
    """
    name, rank = type(module).__name__, tensor.dim()
    if rank == 2:
        return NODES if relational else VECTOR
    if keys in ((), ("0",)):
        if rank == 3 and name.endswith("1d"):
            return SERIES
        if rank == 3 and isinstance(module, _TOKEN_MODULES):
            if any(getattr(part, "batch_first", True) is False for part in module.modules()):
                raise LayoutError(
                    f"a {name} with batch_first=False gives {tuple(tensor.shape)}: time stands before the batch",
                    "build it with batch_first=True",
                )
            return TOKENS
        if rank == 4 and name.endswith("2d"):
            return MAP
        if rank == 5 and name.endswith("3d"):
            return VOLUME
    raise LayoutError(f"a {name} with output {tuple(tensor.shape)} fits more than one layout")
