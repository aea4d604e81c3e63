"""What the axes of a feature mean: the layouts, and the measured `Spec` of one feature.

A layout is a name and its axes. The set is open: a plugin makes `Layout("polar", "B C R A")` and
registers adapters for it; a recipe or a field says `"polar [B C R A]"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mmkd.errors import LayoutError


@dataclass(frozen=True)
class Layout:
    """Meaning of the axes of a batched tensor.

    Arguments:
        name: what recipes and error messages say.
        axes: letters of the axes, batch (or node) axis first, e.g. `"B C H W"`.
    """

    name: str
    axes: str

    @property
    def rank(self) -> int:
        return len(self.axes.split())

    @property
    def channel_axis(self) -> int:
        """Position of the axis `C`. Raises `LayoutError` where there is none."""
        if "C" not in self.axes.split():
            raise LayoutError(f"layout {self} has no channel axis C")
        return self.axes.split().index("C")

    def __str__(self) -> str:
        return f"{self.name} [{self.axes}]"


VECTOR = Layout("vector", "B C")
TOKENS = Layout("tokens", "B T C")
SERIES = Layout("series", "B C T")
MAP = Layout("map", "B C H W")
VOLUME = Layout("volume", "B C D H W")
BEV = Layout("bev", "B C X Y")
NODES = Layout("nodes", "N C")
CORE_LAYOUTS = (VECTOR, TOKENS, SERIES, MAP, VOLUME, BEV, NODES)

_WITH_AXES = re.compile(r"(?P<name>[\w/-]+)\s*\[(?P<axes>\w+(\s+\w+)*)\]")


@dataclass(frozen=True)
class Spec:
    """Measured form of one output or feature.

    Arguments:
        layout: meaning of its axes; None where it was never needed and could not be told.
        shape: sizes after the batch axis, from one dry run.
        guessed: True where the layout was guessed from the module's class and not declared.
        path: module path of the tap, empty for outputs.
        ambiguity: why the layout cannot be told; empty where it can.
    """

    layout: Layout | None
    shape: tuple[int, ...]
    guessed: bool = False
    path: str = ""
    ambiguity: str = ""

    @property
    def channels(self) -> int:
        """Size of the channel axis."""
        return self.shape[self.known_layout().channel_axis - 1]

    def known_layout(self) -> Layout:
        """The layout. Raises `LayoutError` where it could be neither read nor guessed."""
        if self.layout is None:
            what = f"tap '{self.path}'" if self.path else "a signal"
            raise LayoutError(
                self.ambiguity or f"the layout of {what} with shape {self.shape} per sample is unknown",
                'declare it: student.layouts (or the source\'s model.layouts) = { role = "tokens" }',
            )
        return self.layout

    def __str__(self) -> str:
        name = self.layout.name if self.layout else "?"
        return f"{name} {list(self.shape)}" + (" (guessed)" if self.guessed else "")


@dataclass(frozen=True)
class Specs:
    """Measured outputs and features of one model or source."""

    outputs: Mapping[str, Spec] = field(default_factory=dict)
    features: Mapping[str, Spec] = field(default_factory=dict)

    def feature(self, role: str, owner: str = "the model") -> Spec:
        """The feature of a tap role. Raises `LayoutError` naming the roles that exist."""
        if role not in self.features:
            known = ", ".join(sorted(self.features)) or "none"
            raise LayoutError(
                f"{owner} has no tap '{role}' (taps: {known})",
                f'name its module path: taps = {{ {role} = "module.path" }}',
            )
        return self.features[role]


def layout_named(name: str, extra: Iterable[Layout] = ()) -> Layout:
    """Find a layout by name among the core's and `extra`; `"polar [B C R A]"`, with its axes, makes one of a plugin.

    Raises `LayoutError` for an unknown name, and for axes that contradict a known one.
    """
    known = {layout.name: layout for layout in (*CORE_LAYOUTS, *extra)}
    if match := _WITH_AXES.fullmatch(name.strip()):
        layout = Layout(match["name"], " ".join(match["axes"].split()))
        if known.get(layout.name, layout) != layout:
            raise LayoutError(f"layout '{layout}' contradicts {known[layout.name]}", "name it otherwise")
        return layout
    if name not in known:
        way_out = f'one of: {", ".join(known)}; or give its axes, as in "{name} [B C X]"'
        raise LayoutError(f"unknown layout '{name}'", way_out)
    return known[name]
