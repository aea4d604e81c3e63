"""`medical/protokd`: the student's features are alike where the teacher's are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_medical.losses.prototypes import prototype_similarity


class ProtoKD(Method):
    """Similarity of every position's feature with each class's prototype, on both sides; their squared difference.

    Prototypes are means over the positions of a class: of the label where a sample is labelled, of the teacher's
    prediction elsewhere. The paper adds 0.1 of this to soft targets: name both as methods.

    Unlike the authors' code, a class that one sample of the batch lacks is left out for this sample alone, and not for
    all of them; and a batch in which every class is missing gives 0, and no error.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        student_role, teacher_role: taps of the last feature maps, of one size.
        output: the teacher's class logits.
        target: the label field.

    Raises:
        ConfigError: the maps, or the map and the logits, differ in size.
        LayoutError: a tap does not exist.
    """

    citation = (
        "Wang et al. 2023, Prototype Knowledge Distillation for Medical Segmentation with Missing Modality, eq. 2-4"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        student_role: str = "last",
        teacher_role: str | None = None,
        output: str = "logits",
        target: str = "label",
    ) -> None:
        taught = teacher_role or student_role
        super().__init__(student, sources, reads={"student": {student_role}, source: {taught}})
        self.source, self.student_role, self.teacher_role = source, student_role, taught
        self.output, self.target = output, target
        specs = specs_of(sources, source)
        mine = student.feature(student_role, "the student").shape[1:]
        theirs = specs.feature(taught, f"source '{source}'").shape[1:]
        if output not in specs.outputs:
            raise ConfigError(f"medical/protokd: source '{source}' has no output '{output}'", 'set output = "..."')
        said = specs.outputs[output].shape
        self.classes = said[0]
        if len({mine, theirs, said[1:]}) > 1:
            raise ConfigError(
                f"medical/protokd: the student's tap '{student_role}' is of size {list(mine)}, the teacher's '{taught}'"
                f" {list(theirs)}, and its logits {list(said[1:])}",
                "choose taps of the size of the logits",
            )

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        taught = sources[self.source]
        predicted = taught.outputs[self.output].argmax(1)
        known = batch.labelled.reshape(-1, *[1] * (predicted.ndim - 1))
        region = torch.where(known, batch[self.target], predicted)
        mine, theirs = student.features[self.student_role], taught.features[self.teacher_role]
        return {"prototypes": prototype_similarity(mine, theirs, region, self.classes)}
