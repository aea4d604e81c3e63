"""The contract of a method: how knowledge is transferred. It touches neither loop nor data nor scheme."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mmkd.data.views import Batch, View
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.signals import Signals


class Method(nn.Module):
    """A method compares what the student and the sources say about a batch.

    Subclasses take `(student: Specs, sources: Mapping[str, Specs], /, *, source: str = "teacher", ...)`, build their
    adapters there, and return named scalar losses from `forward`.

    Arguments:
        student: measured outputs and features of the student.
        sources: the same for every source, by name.
        reads: tap roles that the method reads, by `"student"` or source name; other features are not collected.

    Attributes:
        citation: paper and equations.
        at_inference: what a student that it teaches needs when it is used, where that is more than the fields it reads.
        asks: True where the method asks the student about other inputs too: `forward` then takes a fourth argument,
            `call`, and `call(batch.replace(x=...))` are the student's signals of them, with gradient.
    """

    citation: ClassVar[str] = ""
    at_inference: ClassVar[str] = ""
    asks: ClassVar[bool] = False

    def __init__(
        self, student: Specs, sources: Mapping[str, Specs], /, *, reads: Mapping[str, set[str]] | None = None
    ) -> None:
        super().__init__()
        self.reads = {name: set(roles) for name, roles in (reads or {}).items()}

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses of one batch; every row counts, labelled or not."""
        raise NotImplementedError

    def adopt(self, student: nn.Module, sources: Mapping[str, Any]) -> None:
        """Take over parts of the sources into the raw student, before its first step: a classifier, embeddings of class
        names. They ship with it. The sources are as they were built, also where a control changes what they say."""

    def prepare(self, view: View, sources: Mapping[str, Any]) -> dict[str, Tensor]:
        """Extra per-sample fields, made once before training: `{name: [rows of the data set, ...]}`."""
        return {}

    def refresh(self, epoch: int, view: View, sources: Mapping[str, Any], student: Any) -> dict[str, Tensor]:
        """The same at the start of each epoch, e.g. neighbour targets; saved in the checkpoint."""
        return {}


def specs_of(sources: Mapping[str, Specs], name: str) -> Specs:
    """The specs of one source. Raises `ConfigError` naming the sources that the recipe has."""
    if name not in sources:
        raise ConfigError(
            f"the method reads source '{name}', which the recipe does not define",
            f'sources: {", ".join(sources) or "none"}; set source = "..."',
        )
    return sources[name]
