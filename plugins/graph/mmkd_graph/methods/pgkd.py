"""`graph/pgkd`: class prototypes stand for the graph. Graph-free, in training and at inference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_graph.methods.edges import check_outputs


class PGKD(Method):
    """A reading of prototype-guided distillation: what edges within and between classes do is learnt from prototypes.

    A row's class is the teacher's decision; a prototype is the mean feature of a class in the batch, each side's of its
    own features, so widths are free. `kl`: the teacher's answers, as in GLNN. `intra`: mean over rows of the
    cross-entropy of `softmax over k of cos(s_i, p_k) / temperature` at the row's class: rows gather around their own
    prototype. `inter`: mean over pairs of classes of the squared difference between the two sides' cosines of their
    prototypes: classes lie to each other as they do for the teacher. Classes without a row in the batch are left out.

    The paper describes both losses in words that leave the distance open; the cosine and the normalisation are ours.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        role: the student's tap.
        teacher_role: the teacher's tap; the same role where left out.
        intra, inter: weights of the losses beside `kl`; at 0 a loss is left out.
        temperature: of the cosines in `intra`.

    Raises:
        ConfigError: classes differ, or both weights are 0.
        LayoutError: a tap does not exist.
    """

    citation = (
        "Wu et al. 2023, Edge-free but Structure-aware: Prototype-Guided Knowledge Distillation from GNNs to MLPs,"
        " arXiv 2303.13763"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        role: str = "penultimate",
        teacher_role: str | None = None,
        intra: NonNegativeFloat = 0.1,
        inter: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 0.1,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        check_outputs(student, sources, source, output, "graph/pgkd")
        student.feature(role, "the student")
        specs_of(sources, source).feature(taught, f"source '{source}'")
        if not intra + inter > 0:
            raise ConfigError("graph/pgkd: intra and inter are both 0", 'use = "soft-targets" is what is left')
        self.source, self.output, self.role, self.teacher_role = source, output, role, taught
        self.intra, self.inter, self.temperature = intra, inter, temperature

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        teacher = sources[self.source]
        taught = teacher.outputs[self.output]
        losses = {"kl": soft_targets(student.outputs[self.output], taught, temperature=1.0)}
        # A prototype is of the whole batch, however many processes it is spread over.
        _, classes = gather_rows(taught.argmax(1)).unique(return_inverse=True)
        features = gather_rows(student.features[self.role].flatten(1).float())
        mine = prototypes(features, classes)
        if self.intra:
            alike = F.normalize(features, dim=1) @ F.normalize(mine, dim=1).T
            losses["intra"] = self.intra * F.cross_entropy(alike / self.temperature, classes)
        if self.inter:
            theirs = gather_rows(teacher.features[self.teacher_role].detach().flatten(1).float())
            losses["inter"] = self.inter * arrangement(mine, prototypes(theirs, classes))
        return losses


def prototypes(features: Float[Tensor, "B C"], classes: Int[Tensor, " B"]) -> Float[Tensor, "K C"]:
    """Mean feature of each class; `classes` are 0 ... K-1, each at least once."""
    total = torch.zeros(int(classes.max()) + 1, features.shape[1], dtype=features.dtype, device=features.device)
    return total.index_add(0, classes, features) / classes.bincount()[:, None]


def arrangement(student: Float[Tensor, "K C"], teacher: Float[Tensor, "K D"]) -> Float[Tensor, ""]:
    """`mean over pairs i < j of (cos(s_i, s_j) - cos(t_i, t_j))^2`; 0 with a gradient path for a single class."""
    mine, theirs = (F.normalize(side, dim=1) for side in (student, teacher))
    difference = torch.triu(mine @ mine.T - theirs @ theirs.T, diagonal=1)
    pairs = len(student) * (len(student) - 1) / 2
    return difference.square().sum() / max(pairs, 1)
