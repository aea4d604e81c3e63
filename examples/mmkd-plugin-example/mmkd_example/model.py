"""`example/net`: a small network."""

import math
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from mmkd.data import Field
from mmkd.data.fields import OutputSpec
from pydantic import PositiveInt
from torch import Tensor, nn


class Net(nn.Module):
    """Two layers on one field.

    `forward` names what the model reads: here `x`, which a recipe binds to a field, `inputs = { x = "narrow" }`.

    Arguments:
        inputs: the bound fields, by name; for a list of fields one that is their concatenation.
        outputs: what the task wants: `{"logits": (classes,)}` for a classification.
        width: of the hidden layer.
    """

    taps: ClassVar[dict[str, str]] = {"penultimate": "body"}  # features that methods may read, by role
    layouts: ClassVar[dict[str, str]] = {"penultimate": "vector"}

    def __init__(self, inputs: Mapping[str, Field], outputs: OutputSpec, /, *, width: PositiveInt = 16) -> None:
        super().__init__()
        (declared,) = inputs.values()
        self.body = nn.Sequential(nn.Linear(math.prod(declared.shape), width), nn.Tanh())
        self.head = nn.Linear(width, outputs["logits"][0])

    def forward(self, x: Float[Tensor, "B C"]) -> Float[Tensor, "B classes"]:
        return self.head(self.body(x))
