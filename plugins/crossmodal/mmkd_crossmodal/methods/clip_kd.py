"""`crossmodal/clip-kd`: the student hears clips as the teacher does, and relates them to captions as it does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_crossmodal.contrastive import affinity, info_nce


class ClipKD(Method):
    """Three losses of CLIP distillation for a student without a text tower: the captions are the teacher's.

    - `matching`: squared distance of the unit embeddings (FD of CLIP-KD);
    - `affinity`: KL divergence of clip-to-caption and caption-to-clip distributions (CRD; open_clip's distillation loss
      differs from it by the teacher's entropy, a constant);
    - `interactive`: InfoNCE of the student's clips and the teacher's captions (ICL).

    The last two compare the rows of all processes together.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the tap with the clip's unit embedding, on both sides, of one size.
        anchor: the teacher's tap with the caption's embedding times its scale.
        matching, affinity, interactive: weights; at 0 a loss is left out.

    Raises:
        LayoutError: a tap does not exist.
        ConfigError: embeddings of different sizes, a negative weight, or no weight at all.
    """

    citation = (
        "Yang et al. 2024, CLIP-KD, arXiv 2307.12732, sections 3.2-3.4 (CRD, FD, ICL); the idea of affinities as in "
        "Wu et al. 2023, TinyCLIP, arXiv 2309.12314"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "embedding",
        anchor: str = "caption",
        matching: float = 1.0,
        affinity: float = 1.0,
        interactive: float = 0.0,
    ) -> None:
        super().__init__(student, sources, reads={"student": {role}, source: {role, anchor}})
        mine, teacher = student.feature(role, "the student"), specs_of(sources, source)
        sizes = {str(spec) for spec in (mine, teacher.feature(role, source), teacher.feature(anchor, source))}
        if len(sizes) > 1:
            raise ConfigError(
                f"clip-kd: embeddings of different sizes: {', '.join(sorted(sizes))}",
                "let student.embedding be the teacher's",
            )
        self.weights = {"matching": matching, "affinity": affinity, "interactive": interactive}
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise ConfigError(f"clip-kd: weights {self.weights} must be 0 or more, and not all 0")
        self.source, self.role, self.anchor = source, role, anchor

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = sources[self.source]
        mine, theirs = student.features[self.role], said.features[self.role]
        losses = {"matching": (F.normalize(mine) - F.normalize(theirs)).square().sum(1).mean()}
        if self.weights["affinity"] or self.weights["interactive"]:
            every, taught, captions = (gather_rows(x) for x in (mine, theirs, said.features[self.anchor]))
            ids = gather_rows(batch.index)
            losses["affinity"] = affinity(every, captions, taught, captions, ids)
            losses["interactive"] = info_nce(every, captions, ids)
        return {name: self.weights[name] * loss for name, loss in losses.items() if self.weights[name]}
