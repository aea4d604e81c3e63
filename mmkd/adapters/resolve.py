"""Find the adapter, or the shortest chain of them, between two measured features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mmkd import registry
from mmkd.adapters.base import Adapter, Chain, Identity
from mmkd.components import Factory
from mmkd.errors import LayoutError, RegistryError
from mmkd.layouts import Layout, Spec


def align(student: Spec, teacher: Spec, chosen: Factory | None = None) -> Adapter:
    """An adapter from the student's feature to the teacher's space.

    Arguments:
        student: measured student feature.
        teacher: measured teacher feature.
        chosen: an adapter that the recipe names; it must fit both layouts.

    Raises `LayoutError` where no chain exists, where two equally short ones do, or a layout is unknown.
    """
    source, target = student.known_layout(), teacher.known_layout()
    if chosen is not None:
        adapter = chosen(student, teacher)
        if (adapter.source.name, adapter.target.name) != (source.name, target.name):
            raise LayoutError(f"adapter '{chosen.use}' maps {adapter.source} to {adapter.target}, "
                              f"but the features are {source} and {target}", "leave it out, or name another")  # fmt: skip
        return adapter
    if source == target and student.shape == teacher.shape:
        return Identity(student, teacher)
    return _build(student, teacher, _shortest(source, target))


def _build(student: Spec, teacher: Spec, path: Sequence[type[Adapter]]) -> Adapter:
    parts: list[Adapter] = []
    current = student
    for adapter in path:
        parts.append(adapter(current, teacher))
        current = parts[-1].spec
    if current.shape != teacher.shape:
        resize = [a for a in _registered() if a.source == a.target == teacher.known_layout()]
        if not resize:
            raise LayoutError(f"no adapter resizes {current} to {teacher}", "write one: see CONTRIBUTING")
        parts.append(_only(resize, teacher.known_layout(), teacher.known_layout())(current, teacher))
    return parts[0] if len(parts) == 1 else Chain(student, teacher, parts)


def _shortest(source: Layout, target: Layout) -> list[type[Adapter]]:
    """Breadth first over the layout-changing adapters; empty where the layouts agree."""
    if source == target:
        return []
    adapters = [a for a in _registered() if a.source != a.target]
    frontier: list[list[type[Adapter]]] = [[a] for a in adapters if a.source == source]
    seen = {source}
    while frontier:
        if found := [path for path in frontier if path[-1].target == target]:
            if len(found) > 1:
                names = " or ".join(" then ".join(a.__name__ for a in path) for path in found)
                raise LayoutError(f"{source} reaches {target} in several ways: {names}", "name one: adapter = { use = ... }")
            return found[0]
        seen |= {path[-1].target for path in frontier}
        frontier = [[*path, a] for path in frontier for a in adapters if a.source == path[-1].target and a.target not in seen]
    raise LayoutError(f"no adapter leads from {source} to {target}", "name or write one; see `mmkd list adapters`")


def _only(adapters: Sequence[type[Adapter]], source: Layout, target: Layout) -> type[Adapter]:
    if len(adapters) > 1:
        names = ", ".join(a.__name__ for a in adapters)
        raise LayoutError(f"several adapters map {source} to {target}: {names}", "name one: adapter = { use = ... }")
    return adapters[0]


def _registered() -> list[type[Adapter]]:
    """Every adapter that can be imported; a broken plugin costs its own adapters and one warning."""
    adapters = []
    for entry in registry.entries("adapters"):
        try:
            adapters.append(registry.get("adapters", entry.name))
        except RegistryError as error:
            warnings.warn(str(error), stacklevel=2)
    return adapters
