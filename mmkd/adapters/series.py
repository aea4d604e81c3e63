"""Series: projected and resampled to the teacher's rate, averaged over time, turned into tokens."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mmkd.adapters.base import Adapter
from mmkd.adapters.map import project_and_resize
from mmkd.layouts import SERIES, TOKENS, VECTOR, Spec


class Series(Adapter):
    """1x1 convolution and linear interpolation over time, for features of the same duration at different rates.

    Arguments:
        bias: whether the convolution has a bias.
    """

    source = target = SERIES

    def __init__(self, student: Spec, teacher: Spec, /, *, bias: bool = True) -> None:
        super().__init__(student, teacher)
        self.project = nn.Conv1d(student.channels, teacher.channels, 1, bias=bias)
        self.lengths = student.shape[1:], teacher.shape[1:]

    def forward(self, feature: Float[Tensor, "B C T"]) -> Float[Tensor, "B K t"]:
        return project_and_resize(self.project, feature, *self.lengths)


class SeriesToVector(Adapter):
    """Mean over time."""

    source = SERIES
    target = VECTOR

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        return Spec(cls.target, (student.channels,))

    def forward(self, feature: Float[Tensor, "B C T"]) -> Float[Tensor, "B C"]:
        return feature.mean(2)


class SeriesToTokens(Adapter):
    """One token per time step."""

    source = SERIES
    target = TOKENS

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        return Spec(cls.target, student.shape[::-1])

    def forward(self, feature: Float[Tensor, "B C T"]) -> Float[Tensor, "B T C"]:
        return feature.mT
