"""What all plots share: the look of arms, axes and legends, and figures turned into SVG that stands inside a page.

Text and axes take the page's own text colour (`currentColor`), so a plot can be read on light and on dark. An arm has
the same colour and the same marker in every plot: Okabe & Ito's (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import html
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mmkd.reporting import facts
from mmkd.reporting.facts import Result

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
WIDTH = 4.8
"""Of a figure, in inches: with 10 point text it can still be read on a phone."""
_ALONE, _DISTILLED = "#D55E00", "#0072B2"
_OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#858585", "#E69F00")  # grey for yellow, which vanishes on light pages
_MARKERS = "sD^vP*X<>"
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    **dict.fromkeys(_INKED, INK),
}


@dataclass(frozen=True)
class Plot:
    """One finished figure.

    Arguments:
        name: a word for it, which its ids begin with.
        svg: to be put into a page as it is; `alt` is its label.
        alt: what it shows, in words and figures.
        caption: how to read it.
        figure: as it was drawn, black on white.
    """

    name: str
    svg: str
    alt: str
    caption: str
    figure: Figure = field(repr=False, compare=False)


@dataclass(frozen=True)
class Look:
    """Of an arm."""

    colour: str
    marker: str


def looks(result: Result) -> dict[str, Look]:
    """Look of each arm: the teacher in the text's colour, `alone` vermilion, `distilled` blue."""
    fixed = {"alone": Look(_ALONE, "o"), "distilled": Look(_DISTILLED, "o")}
    fixed |= {name: Look(INK, "o") for name in facts.sources(result)[:1]}
    others = [name for name in result["arms"] if name not in fixed]
    for i, name in enumerate(others):
        lap, place = divmod(i, len(_OTHERS))
        fixed[name] = Look(_OTHERS[place], _MARKERS[(i + lap) % len(_MARKERS)])
    return {name: fixed[name] for name in result["arms"]}


def style(name: str) -> AbstractContextManager[None]:
    """Draw and finish a plot within this; its ids are the same in every run."""
    changes: Any = {**_STYLE, "svg.hashsalt": name}
    return mpl.rc_context(changes)


class Shown(Figure):
    """A figure that a notebook shows, also where nobody imported pyplot."""

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()


def figure(title: str, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure with its title and its axes, one above the other."""
    made = Shown(figsize=(WIDTH, height), layout="constrained")
    made.suptitle(title, x=0.01, horizontalalignment="left")
    return made, list(made.subplots(panels, squeeze=False)[:, 0])


def rows(axes: Axes, names: Sequence[str]) -> None:
    """One row per arm, the first on top."""
    axes.set_yticks(range(len(names)), [brief(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))


def legend(made: Figure, arms: Mapping[str, Look]) -> None:
    """Below the axes; the figure grows with its lines."""
    handles = [Line2D([], [], color=look.colour, marker=look.marker, markersize=5) for look in arms.values()]
    names = [brief(name) for name in arms]
    columns = max(1, min(len(names), int(54 / (max(map(len, names)) + 7))))
    made.set_figheight(made.get_figheight() + 0.2 * (math.ceil(len(names) / columns) - 1))
    made.legend(handles, names, loc="outside lower center", ncols=columns)


def brief(name: str) -> str:
    """A name short enough for an axis; matplotlib leaves out labels that begin with an underscore."""
    name = name if len(name) <= 20 else f"{name[:19]}…"
    return f" {name}" if name.startswith("_") else name


def off_scale(result: Result, sizes: Mapping[str, float]) -> set[str]:
    """Controls that went so far off (by `sizes`) that drawing them would flatten all the rest."""
    middle = sorted(sizes.values())[(len(sizes) - 1) // 2]
    far = 2.5 * max([middle, *(size for arm, size in sizes.items() if not result["arms"][arm]["control"])])
    return {arm for arm, size in sizes.items() if size > far}


def note_off_scale(axes: Axes, row: int, value: str, right: bool) -> None:
    """The value as text at the edge that it lies beyond."""
    x, side, text = (0.99, "right", f"{value} ▶") if right else (0.01, "left", f"◀ {value}")
    axes.text(x, row, text, transform=axes.get_yaxis_transform(), ha=side, va="center")


def finish(made: Figure, name: str, alt: str, caption: str) -> Plot:
    """Write the SVG and make it part of a page: no namespaces, ids of its own, the page's colour and font."""
    written = StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the letters
        made.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    # A <style> inside would be applied to the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif").replace(INK, "currentColor")
    opening = f'<svg role="img" aria-label="{html.escape(alt)}" style="stroke-linejoin: round" '
    return Plot(name, svg.replace("<svg ", opening, 1), alt, caption, made)
