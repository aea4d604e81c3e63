"""`medical/pixel-kd`: soft targets at every pixel, every class with the same say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pydantic
from torch import Tensor

from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.losses import soft_targets
from mmkd.methods.soft_targets import SoftTargets
from mmkd.signals import Signals
from mmkd_medical.losses.balance import class_balance


class PixelKD(SoftTargets):
    """`soft-targets` with positions weighted by the class that the teacher sees there: the rarer, the heavier.

    A plain mean over positions is ruled by the background: a student that predicts nothing else is almost right
    everywhere, and on small lesions some students end there. Full balance (`power = 1`) errs to the other side, and
    finds a lesion in too many places.

    Arguments:
        student, sources, source, temperature, output: as in `soft-targets`.
        power: 1 makes classes count alike, 0 positions; between, classes count with that root of their size taken away.
        floor: share of a batch's positions below which a class counts for less, see `class_balance`.
    """

    citation = (
        "Hinton et al. 2015, arXiv 1503.02531, section 2, at every position; the weights are those of class-balanced"
        " cross-entropy, with the teacher's probabilities in place of labels"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        temperature: float = 2.0,
        output: str = "logits",
        power: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5,
        floor: Annotated[float, pydantic.Field(gt=0, lt=1)] = 1e-3,
    ) -> None:
        super().__init__(student, sources, source=source, temperature=temperature, output=output)
        self.power, self.floor = power, floor

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said, taught = student.outputs[self.output], sources[self.source].outputs[self.output]
        weights = class_balance(taught, power=self.power, floor=self.floor)
        return {"kl": soft_targets(said, taught, temperature=self.temperature, dim=self.axis, weights=weights)}
