"""Nested dicts of tensors (`x_dict`, `edge_index_dict`): apply a function to every leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Nested = Tensor | Mapping[Any, Any]


def map_tensors(function: Callable[[Tensor], Tensor], value: Nested) -> Any:
    """The same nesting with `function` applied to each tensor; other leaves stay as they are."""
    if isinstance(value, Mapping):
        return {key: map_tensors(function, inner) for key, inner in value.items()}
    return function(value) if isinstance(value, Tensor) else value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in the nesting, in order."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, Tensor):
        yield value


def named_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in the nesting with its place, sorted by key: `x_dict['paper']`; a tensor alone has the name."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from named_tensors(f"{name}[{key!r}]", value[key])
    elif isinstance(value, Tensor):
        yield name, value


def strided_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The dense tensors that make up a tensor: itself, or the indices and values of a sparse one."""
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        return tensor.indices(), tensor.values()
    if tensor.layout == torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return (tensor,)


def rows_of(value: Nested, index: Tensor) -> Any:
    """The rows `index` of every tensor."""
    return map_tensors(lambda tensor: tensor.index_select(0, index), value)
