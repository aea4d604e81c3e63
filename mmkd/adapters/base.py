"""The contract of an adapter, and the two that need no configuration: identity and chain."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mmkd.layouts import Layout, Spec


class Adapter(nn.Module):
    """Maps a student feature of layout `source` towards a teacher feature of layout `target`.

    An adapter either keeps the layout and meets the teacher's sizes, or changes the layout and keeps the channels;
    `align` joins such parts to a chain. Adapters are trained with the student and do not ship with it.

    Arguments of every adapter's constructor:
        student: measured form of what comes in.
        teacher: measured form of the teacher's feature, in the middle of a chain too.

    Attributes:
        source: layout that comes in.
        target: layout that goes out.
        automatic: False keeps an adapter out of every route that no recipe names it for, so that a second adapter for a
            pair of layouts can be registered without making the pair ambiguous.
        spec: form of what goes out.
    """

    source: ClassVar[Layout]
    target: ClassVar[Layout]
    automatic: ClassVar[bool] = True

    def __init__(self, student: Spec, teacher: Spec, /) -> None:
        super().__init__()
        self.spec = self.output_spec(student, teacher)

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        """Form of what goes out: the teacher's. An adapter that changes the layout alone overrides it."""
        return Spec(teacher.layout, teacher.shape)

    def forward(self, feature: Tensor) -> Tensor:
        raise NotImplementedError


class Identity(Adapter):
    """Student and teacher features agree already."""

    def forward(self, feature: Tensor) -> Tensor:
        return feature


class Chain(Adapter):
    """Adapters one after the other, e.g. tokens -> vector -> wider vector."""

    def __init__(self, student: Spec, teacher: Spec, /, parts: list[Adapter]) -> None:
        super().__init__(student, teacher)
        self.parts = nn.ModuleList(parts)

    def forward(self, feature: Tensor) -> Tensor:
        for part in self.parts:
            feature = part(feature)
        return feature
