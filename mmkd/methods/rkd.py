"""Relational knowledge distillation: the student arranges a batch as the teacher does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.losses import rkd_angle, rkd_distance
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class RKD(Method):
    """Distances between pairs and angles in triplets of flattened embeddings; no adapter, the sizes are free.

    The batch is that of all processes together. Memory grows with its cube; with `angle = 0` with its square.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap.
        teacher_role: the teacher's tap; the same role where left out.
        distance: weight of the distances; at 0 they are left out.
        angle: weight of the angles; at 0 they are left out.

    Raises:
        LayoutError: a tap does not exist.
        ConfigError: a weight is negative, or both are 0.
    """

    citation = "Park et al. 2019, Relational Knowledge Distillation, arXiv 1904.05068, section 3.2"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "penultimate",
        teacher_role: str | None = None,
        distance: float = 25.0,
        angle: float = 50.0,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        student.feature(role, "the student")
        specs_of(sources, source).feature(taught, f"source '{source}'")
        if not (distance >= 0 and angle >= 0 and distance + angle > 0):
            raise ConfigError(f"rkd: distance = {distance} and angle = {angle} must be 0 or more, and not both 0")
        self.source, self.role, self.teacher_role = source, role, taught
        self.distance, self.angle = distance, angle

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        mine = gather_rows(student.features[self.role].flatten(1))
        theirs = gather_rows(sources[self.source].features[self.teacher_role].flatten(1))
        losses = {}
        if self.distance:
            losses["distance"] = self.distance * rkd_distance(mine, theirs)
        if self.angle:
            losses["angle"] = self.angle * rkd_angle(mine, theirs)
        return losses
