"""Field: the declared form of one value of a data set, copied into the manifest of every exported student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

OutputSpec = Mapping[str, tuple[int | None, ...]]
"""Names and per-sample shapes of the outputs that a task wants, e.g. `{"logits": (7,)}`; a size `None` varies."""
Limit = float | tuple[float, ...]
"""One end of a range: of all values, or of each channel."""


@dataclass(frozen=True)
class Field:
    """One named value of a data set.

    Arguments:
        shape: sizes of one sample (`None`: varies), of the whole value for constants and relations.
        dtype: torch's name of the type.
        layout: meaning of the axes, by the names in `mmkd.layouts`; `"edges"` marks a relation `[2, E]` of row ids.
        kind: `sample` (one row per sample), `constant` (shared, ties no samples), `relation` (ties rows).
        target: True for labels; they are hidden on rows that are not labelled.
        classes: names of the classes of a categorical target.
        channels: names along the channel axis, where it has any: columns of a table, sequences of a scanner.
        unit: physical unit, e.g. `"m/s2"`.
        rate: sampling rate in Hz.
        range: smallest and largest legal value; either may be a tuple with one per channel, along the first axis of a
            sample, where channels differ in unit.
        normalisation: mean and standard deviation per channel, fitted on training rows and already applied.
        preparation: how a recording on file became this value, as JSON values: the reader of such files does it again.
        parts: the form of each value of a nested dict by its key, e.g. the features of each type of node; of a part of
            a relation that has one row per sample after all, the kind is `sample`.
    """

    shape: tuple[int | None, ...] = ()
    dtype: str = "float32"
    layout: str = ""
    kind: Literal["sample", "constant", "relation"] = "sample"
    target: bool = False
    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    unit: str = ""
    rate: float | None = None
    range: tuple[Limit, Limit] | None = None
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    preparation: Mapping[str, Any] | None = None
    parts: Mapping[Any, Field] | None = None

    def manifest(self) -> dict[str, Any]:
        """JSON form without the defaults that say nothing."""
        said = asdict(replace(self, parts=None))
        if self.parts:
            said["parts"] = {key_name(key): part.manifest() for key, part in self.parts.items()}
        return {key: value for key, value in said.items() if value not in ("", None, (), False)}


def key_name(key: Any) -> str:
    """A key of a nested dict as one string: `("author", "writes", "paper")` is `author writes paper`."""
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
