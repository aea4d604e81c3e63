"""Find the adapter, or the shortest chain of them, between two measured features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from mmkd import registry
from mmkd.adapters.base import Adapter, Chain, Identity
from mmkd.components import Factory
from mmkd.errors import LayoutError, RegistryError
from mmkd.layouts import Layout, Spec


def align(student: Spec, teacher: Spec, chosen: Factory | None = None) -> Adapter:
    """An adapter from the student's feature to the teacher's space.

    First the layout is changed, along the shortest route of registered adapters, then the sizes are met by the one that
    keeps the teacher's layout. Features that agree get `Identity`.

    Arguments:
        student: measured student feature.
        teacher: measured teacher feature.
        chosen: an adapter that the recipe names: one link of the chain. The links before and after it are found.

    Raises:
        LayoutError: a layout is unknown, no route exists, equally short ones do, or `chosen` stands on none.
    """
    source, target = student.known_layout(), teacher.known_layout()
    path = _through(chosen, source, target) if chosen else _route(source, target)
    parts: list[Adapter] = []
    reached = student
    for make in path:
        parts.append(make(reached, teacher))
        reached = parts[-1].spec
    if reached.shape != teacher.shape:
        parts.append(_resizer(reached, teacher)(reached, teacher))
    if not parts:
        return Identity(student, teacher)
    return parts[0] if len(parts) == 1 else Chain(student, teacher, parts)


def _through(chosen: Factory, source: Layout, target: Layout) -> Sequence[Callable[..., Adapter]]:
    """The route by way of the adapter that the recipe names."""
    link = _checked(chosen.component, chosen.use)
    if link.source == link.target != target or not (_leads(source, link.source) and _leads(link.target, target)):
        raise LayoutError(
            f"adapter '{chosen.use}' maps {link.source} to {link.target}, which lies on no way from the student's "
            f"{source} to the teacher's {target}",
            "leave it out, or name another",
        )
    return [*_route(source, link.source), chosen, *_route(link.target, target)]


def _route(source: Layout, target: Layout) -> list[type[Adapter]]:
    """The shortest way over the adapters that change the layout; empty where the layouts agree."""
    if source == target:
        return []
    found = _shortest(source, target)
    if not found:
        raise LayoutError(f"no adapter leads from {source} to {target}", "name or write one; see `mmkd list adapters`")
    if len(found) > 1:
        names = " or ".join(" then ".join(adapter.__name__ for adapter in path) for path in found)
        raise LayoutError(f"{source} reaches {target} in several ways: {names}", "name a link: adapter = { use = ... }")
    return found[0]


def _leads(source: Layout, target: Layout) -> bool:
    return source == target or bool(_shortest(source, target))


def _shortest(source: Layout, target: Layout) -> list[list[type[Adapter]]]:
    """Every shortest way, breadth first; none where the target is out of reach."""
    changers = [adapter for adapter in _registered() if adapter.source != adapter.target]
    frontier: list[list[type[Adapter]]] = [[adapter] for adapter in changers if adapter.source == source]
    seen = {source}
    while frontier:
        if found := [path for path in frontier if path[-1].target == target]:
            return found
        seen |= {path[-1].target for path in frontier}
        frontier = [
            [*path, adapter]
            for path in frontier
            for adapter in changers
            if adapter.source == path[-1].target and adapter.target not in seen
        ]
    return []


def _resizer(reached: Spec, teacher: Spec) -> type[Adapter]:
    """The adapter that meets the teacher's sizes within its layout."""
    layout = teacher.known_layout()
    found = [adapter for adapter in _registered() if adapter.source == adapter.target == layout]
    if not found:
        raise LayoutError(f"no adapter resizes {reached} to {teacher}", "name or write one; see `mmkd list adapters`")
    if len(found) > 1:
        names = ", ".join(adapter.__name__ for adapter in found)
        raise LayoutError(f"several adapters resize {layout}: {names}", "name one: adapter = { use = ... }")
    return found[0]


def _registered() -> Sequence[type[Adapter]]:
    """Every adapter for automatic use; a broken plugin costs its own adapters and one warning."""
    adapters = []
    for entry in registry.entries("adapters"):
        try:
            adapters.append(_checked(registry.load(entry), entry.name))
        except RegistryError as error:
            warnings.warn(str(error), stacklevel=2)
    return [adapter for adapter in adapters if adapter.automatic]


def _checked(component: object, name: str) -> type[Adapter]:
    if isinstance(component, type) and issubclass(component, Adapter):
        if isinstance(getattr(component, "source", None), Layout) and isinstance(
            getattr(component, "target", None), Layout
        ):
            return component
        raise RegistryError(f"adapter '{name}' declares no source and target layout")
    raise RegistryError(f"adapter '{name}' is no subclass of mmkd.adapters.Adapter")
