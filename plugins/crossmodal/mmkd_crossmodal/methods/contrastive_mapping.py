"""`crossmodal/contrastive-mapping`: the student's features are mapped to where the teacher's are, clip by clip."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from mmkd.adapters import align
from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_crossmodal.contrastive import info_nce


class ContrastiveMapping(Method):
    """InfoNCE between the student's mapped feature and the teacher's, both ways, over the rows of all processes.

    The mapping of Kim and Kang's cross-modal distillation: an adapter brings the student's feature to the teacher's
    size, where a clip's own feature is to be nearer than those of the others. Published with the teacher's softened
    outputs beside it: add `soft-targets`.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap, one vector per clip.
        teacher_role: the teacher's; the same role where left out.
        temperature: what cosines are divided by, > 0.

    Raises:
        LayoutError: a tap does not exist, or nothing maps one to the other.
        ConfigError: the temperature is not positive.
    """

    citation = (
        "Kim and Kang 2022, Cross-modal distillation with audio-text fusion for fine-grained emotion classification "
        "using BERT and Wav2vec 2.0, Neurocomputing (CMD); InfoNCE: van den Oord et al. 2018, arXiv 1807.03748, eq. 4"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "embedding",
        teacher_role: str | None = None,
        temperature: float = 0.1,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        if not temperature > 0:
            raise ConfigError(f"contrastive-mapping: temperature = {temperature} is not positive")
        self.adapter = align(student.feature(role, "the student"), specs_of(sources, source).feature(taught, source))
        self.source, self.role, self.teacher_role, self.temperature = source, role, taught, temperature

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        mine = F.normalize(self.adapter(student.features[self.role]), dim=1)
        theirs = F.normalize(sources[self.source].features[self.teacher_role], dim=1) / self.temperature
        return {"nce": info_nce(gather_rows(mine), gather_rows(theirs), gather_rows(batch.index))}
