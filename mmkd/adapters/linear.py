"""Vector to vector."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mmkd.adapters.base import Adapter
from mmkd.layouts import VECTOR, Spec


class Linear(Adapter):
    """One linear map, as the regressor of FitNets (Romero et al. 2015, arXiv 1412.6550, section 2.2).

    Arguments:
        bias: whether it has a bias.
    """

    source = target = VECTOR

    def __init__(self, student: Spec, teacher: Spec, /, *, bias: bool = True) -> None:
        super().__init__(student, teacher)
        self.project = nn.Linear(student.channels, teacher.channels, bias=bias)

    def forward(self, feature: Float[Tensor, "B C"]) -> Float[Tensor, "B K"]:
        return self.project(feature)
