"""Tokens: projected and resampled to the teacher's number of tokens, or averaged."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mmkd.adapters.base import Adapter
from mmkd.adapters.map import project_and_resize
from mmkd.layouts import TOKENS, VECTOR, Spec


class Tokens(Adapter):
    """Projection of the channels and linear interpolation over the tokens' order.

    Numbers of tokens that differ make sense for tokens in one order, such as time or text; between grids of patches tap
    maps instead.

    Arguments:
        bias: whether the projection has a bias.
    """

    source = target = TOKENS

    def __init__(self, student: Spec, teacher: Spec, /, *, bias: bool = True) -> None:
        super().__init__(student, teacher)
        self.project = nn.Conv1d(student.channels, teacher.channels, 1, bias=bias)
        self.lengths = student.shape[:1], teacher.shape[:1]

    def forward(self, feature: Float[Tensor, "B T C"]) -> Float[Tensor, "B t K"]:
        return project_and_resize(self.project, feature.mT, *self.lengths).mT


class TokensToVector(Adapter):
    """Mean over the tokens, padded ones included: a model that pads should tap its own pooling."""

    source = TOKENS
    target = VECTOR

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        return Spec(cls.target, (student.channels,))

    def forward(self, feature: Float[Tensor, "B T C"]) -> Float[Tensor, "B C"]:
        return feature.mean(1)
