"""Similarity-preserving distillation: samples that are alike for the teacher become alike for the student."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.layouts import Specs
from mmkd.losses import similarity_preserving
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class SimilarityPreserving(Method):
    """Squared difference of the row-normalised Gram matrices of flattened features; no adapter, the sizes are free.

    The paper taps the last convolutional stage, before pooling. The batch is that of all processes together.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap.
        teacher_role: the teacher's tap; the same role where left out.

    Raises:
        LayoutError: a tap does not exist.
    """

    citation = "Tung and Mori 2019, Similarity-Preserving Knowledge Distillation, arXiv 1907.09682, section 3: eqs. 2-4"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "penultimate",
        teacher_role: str | None = None,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        student.feature(role, "the student")
        specs_of(sources, source).feature(taught, f"source '{source}'")
        self.source, self.role, self.teacher_role = source, role, taught

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        mine = gather_rows(student.features[self.role].flatten(1))
        theirs = gather_rows(sources[self.source].features[self.teacher_role].flatten(1))
        return {"similarity": similarity_preserving(mine, theirs)}
