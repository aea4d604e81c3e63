"""Pictures for people: what a task shows of a few samples in the report."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Arguments:
        name: of its file, without extension: small letters, digits and hyphens.
        caption: what is to be seen, in a sentence or two.
        alt: the same for those who cannot see it: what it shows, and what is striking.
        content: bytes of a PNG, or the text of an SVG.
    """

    name: str
    caption: str
    alt: str
    content: bytes | str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a picture's name is '{self.name}': small letters, digits and hyphens are allowed")

    @property
    def file(self) -> str:
        return self.name + (".svg" if isinstance(self.content, str) else ".png")


def png_of(figure: Figure, dots_per_inch: int = 110) -> bytes:
    """A matplotlib figure as PNG, without a date in it: equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def address_of(file: str, content: bytes) -> str:
    """A picture's file as a `data:` address, which needs nothing beside the page; an SVG's scripts do not run so."""
    kind = "image/svg+xml" if file.endswith(".svg") else "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
