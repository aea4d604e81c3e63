"""Taps: forward hooks by module path that collect features, with no change to the model's code.

A path names a module and may reach on into its output: `encoder.2`, `gru.0` (first part of a tuple), `conv.paper` (dict key).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmkd.errors import LayoutError
from mmkd.layouts import MAP, NODES, SERIES, TOKENS, VECTOR, VOLUME, Layout


class Taps:
    """Collects the output of tapped modules during one forward.

    Arguments:
        model: the raw model.
        paths: module path per role.

    Raises `LayoutError` for a path that leads to no module.
    """

    def __init__(self, model: nn.Module, paths: Mapping[str, str]) -> None:
        self.model = [model]  # in a list, so that holding Taps does not register the model twice
        self.paths = dict(paths)
        self.clones = dict.fromkeys(self.paths, False)
        self._places = {role: locate(model, path) for role, path in self.paths.items()}
        self._seen: dict[str, tuple[Tensor, int]] = {}

    def keep(self, roles: set[str]) -> None:
        """Forget every tap but these."""
        self.paths = {role: path for role, path in self.paths.items() if role in roles}

    def module_of(self, role: str) -> nn.Module:
        return self._places[role][0]

    @contextmanager
    def record(self) -> Iterator[dict[str, Tensor]]:
        """Collect features of the forwards inside the block into the dict that it yields."""
        features: dict[str, Tensor] = {}
        self._seen.clear()
        handles = [self._hook(role, features) for role in self.paths]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()
        if missing := set(self.paths) - set(features):
            role = sorted(missing)[0]
            raise LayoutError(f"tap '{role}': module '{self.paths[role]}' did not run in this forward")
        for role in self.overwritten():
            if self.overwritten()[role] and not self.clones[role]:
                raise LayoutError(f"tap '{role}' at '{self.paths[role]}' was overwritten in place after it was read",
                                  "measure the model before training, or tap the module that overwrites it")  # fmt: skip

    def overwritten(self) -> dict[str, bool]:
        """Which tapped tensors a later in-place operation changed in the last forward."""
        return {
            role: not tensor.is_inference() and tensor._version != version
            for role, (tensor, version) in self._seen.items()
        }

    def _hook(self, role: str, features: dict[str, Tensor]) -> Any:
        module, keys = self._places[role]

        def collect(_module: nn.Module, _inputs: Any, output: Any) -> None:
            value = reach(output, keys, role, self.paths[role])
            self._seen[role] = (value, 0 if value.is_inference() else value._version)
            features[role] = value.clone() if self.clones[role] else value

        return module.register_forward_hook(collect)


def locate(model: nn.Module, path: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The module that the longest prefix of `path` names, and the keys that reach on into its output."""
    parts = path.split(".") if path else []
    module: nn.Module = model
    for position, part in enumerate(parts):
        children = dict(module.named_children())
        if part not in children:
            if position == 0:
                raise LayoutError(
                    f"tap path '{path}' names no module of {type(model).__name__}",
                    f"its modules: {', '.join(name for name, _ in model.named_modules() if name) or 'none'}",
                )
            return module, tuple(parts[position:])
        module = children[part]
    return module, ()


def reach(output: Any, keys: tuple[str, ...], role: str, path: str) -> Tensor:
    """Follow keys into tuples and dicts. Raises `LayoutError` naming what is there instead of a tensor."""
    for key in keys:
        try:
            output = output[int(key)] if isinstance(output, tuple | list) else output[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            there = list(output) if isinstance(output, Mapping) else type(output).__name__
            raise LayoutError(f"tap '{role}': '{path}' does not reach '{key}' in the output ({there})") from error
    if not isinstance(output, Tensor):
        parts = list(output) if isinstance(output, Mapping) else f"{len(output)} parts" if hasattr(output, "__len__") else ""
        raise LayoutError(f"tap '{role}' at '{path}' gives a {type(output).__name__} of {parts}, not a Tensor",
                          f"reach into it: \"{path}.0\" or \"{path}.key\"")  # fmt: skip
    return output


def guess_layout(module: nn.Module, tensor: Tensor, relational: bool) -> Layout:
    """Guess a layout from the module's class and the tensor's rank. Raises `LayoutError` where two readings fit."""
    name, rank = type(module).__name__, tensor.dim()
    if rank == 2:
        return NODES if relational else VECTOR
    if rank == 3 and (name.endswith("1d") or isinstance(module, nn.Conv1d)):
        return SERIES
    if rank == 3 and isinstance(module, nn.Linear | nn.LayerNorm | nn.MultiheadAttention | nn.TransformerEncoderLayer
                                | nn.TransformerEncoder | nn.RNNBase | nn.Embedding):  # fmt: skip
        return TOKENS
    if rank == 4 and name.endswith("2d"):
        return MAP
    if rank == 5 and name.endswith("3d"):
        return VOLUME
    raise LayoutError(f"a {name} with output {tuple(tensor.shape)} fits more than one layout")
