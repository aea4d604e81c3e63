"""`example/bottleneck`: from one vector to another through a narrow layer."""

from typing import ClassVar

from jaxtyping import Float
from mmkd.adapters import Adapter
from mmkd.layouts import VECTOR, Layout, Spec
from torch import Tensor, nn


class Bottleneck(Adapter):
    """Two linear layers, with fewer channels between them than on either side.

    Arguments:
        student, teacher: measured forms of what comes in and of what is wanted.
    """

    source: ClassVar[Layout] = VECTOR
    target: ClassVar[Layout] = VECTOR
    automatic: ClassVar[bool] = False  # the core has an adapter for this pair: this one is used where it is named

    def __init__(self, student: Spec, teacher: Spec, /) -> None:
        super().__init__(student, teacher)
        narrow = max(min(student.channels, teacher.channels) // 2, 1)
        self.layers = nn.Sequential(nn.Linear(student.channels, narrow), nn.Linear(narrow, teacher.channels))

    def forward(self, feature: Float[Tensor, "B C"]) -> Float[Tensor, "B D"]:
        return self.layers(feature)
