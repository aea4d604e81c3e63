"""VSKD: the student arranges a batch as the teacher does, and as the names of the classes are arranged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.losses import rkd_angle, rkd_distance
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class VSKD(Method):
    """Distances of pairs and angles of triplets, in three spaces: student feature, teacher feature, class-name vectors.

    The loss that the paper calls DASK. It says in words that RKD's two relations tie the student to the teacher's
    semantic vector and to the vectors of class names; how the three are paired and weighted leaves room, and the
    published code has these terms switched off. The reading here: `teacher` is RKD between student and teacher,
    `words` RKD between student and names, both with the same weights for distance and angle and summed. Add
    `soft-targets` for the paper's whole loss.

    A labelled clip's word vector is that of its class. The class of an unlabelled clip is hidden, so it gets the
    mean of the vectors under the teacher's probabilities. Relations are among pooled features of clips, so sensors may
    run at any rate. Features belong to the rows of one batch, whose ids the batch carries: teacher and student cannot
    see different clips (the published code drew them from two loaders that shuffle on their own).

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap, one vector per clip.
        teacher_role: the teacher's; the same role where left out.
        output: the teacher's class logits.
        words: the constant field with a vector per class, `[K, D]`.
        target: the label field.
        distance, angle: weights of the two relations; at 0 one is left out.
        semantic: weight of the class names beside the teacher; at 0 they are left out.

    Raises:
        LayoutError: a tap does not exist.
        ConfigError: a weight is negative, or nothing has weight.
    """

    citation = (
        "Ni et al. 2022, Cross-modal Knowledge Distillation for Vision-to-Sensor Action Recognition, ICASSP 2022, "
        "arXiv 2112.01849 (DASK), with the relations of Park et al. 2019, arXiv 1904.05068, section 3.2"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "penultimate",
        teacher_role: str | None = None,
        output: str = "logits",
        words: str = "class_words",
        target: str = "label",
        distance: float = 25.0,
        angle: float = 50.0,
        semantic: float = 1.0,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        student.feature(role, "the student")
        teacher = specs_of(sources, source)
        teacher.feature(taught, f"source '{source}'")
        if min(distance, angle, semantic) < 0 or distance + angle == 0:
            raise ConfigError(
                f"vskd: distance = {distance}, angle = {angle} and semantic = {semantic} must be 0 or more, and the "
                "first two not both 0"
            )
        if semantic and output not in teacher.outputs:
            raise ConfigError(
                f"vskd: source '{source}' has no output '{output}'", 'set output = "...", or semantic = 0.0'
            )
        self.source, self.role, self.teacher_role, self.output = source, role, taught, output
        self.words, self.target = words, target
        self.distance, self.angle, self.semantic = distance, angle, semantic

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = sources[self.source]
        mine = gather_rows(student.features[self.role].flatten(1))
        losses = {"teacher": self._relation(mine, gather_rows(said.features[self.teacher_role].flatten(1)))}
        if self.semantic:
            words = word_vectors(batch[self.words], batch[self.target], batch.labelled, said.outputs[self.output])
            losses["words"] = self.semantic * self._relation(mine, gather_rows(words))
        return losses

    def _relation(self, mine: Tensor, theirs: Tensor) -> Tensor:
        loss = mine.new_zeros(())
        if self.distance:
            loss = loss + self.distance * rkd_distance(mine, theirs)
        if self.angle:
            loss = loss + self.angle * rkd_angle(mine, theirs)
        return loss


def word_vectors(
    vectors: Float[Tensor, "K D"], labels: Tensor, labelled: Tensor, logits: Float[Tensor, "B K"]
) -> Float[Tensor, "B D"]:
    """The class's vector of labelled rows, and of others the mean under the teacher's probabilities."""
    expected = logits.float().softmax(1) @ vectors
    return torch.where(labelled[:, None], vectors[labels.clamp(min=0)], expected)
