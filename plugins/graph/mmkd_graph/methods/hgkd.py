"""`graph/hgkd`: from a typed graph to a multilayer perceptron, by answers, embeddings and metapath neighbours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from mmkd.adapters import Adapter, align
from mmkd.components import Use
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_graph.methods.edges import within


class HGKD(Method):
    """`kl * KL + cosine * (1 - cos) + metapath * MSE`; the paper's cross-entropy is the task, with the task's weight.

    KL: of the softened class probabilities. Cosine: of the student's adapted embedding of a row and the teacher's.
    Metapath: the mean squared difference between student and teacher of cos(h_i, h_j), over pairs (i, j) of rows that a
    metapath joins, for each metapath, and then the mean over metapaths. Similarities are those of each side's own
    embeddings, so this term needs no adapter.

    Of the pairs those count whose two rows stand in the batch: with a batch of all rows all of them do.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap.
        teacher_role: the teacher's tap; the same role where left out.
        kl, cosine, metapath: weights of the terms; at 0 a term is left out.
        temperature: of the KL.
        relation: the data set's relation that holds the pairs of each metapath, `{key: [2, E]}`.
        pairs: of each metapath at most so many, drawn anew for each batch: memory grows with them and not with the
            graph.
        adapter: an adapter to lead the student's embedding through, instead of the one that layouts call for.

    Raises:
        LayoutError: a tap does not exist, or no adapter joins the two.
        ConfigError: all weights are 0, or sides differ in classes.
    """

    citation = "Zhao et al. 2026, HGKD, AAAI: from heterogeneous graph networks to multilayer perceptrons"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "penultimate",
        teacher_role: str | None = None,
        kl: NonNegativeFloat = 1.0,
        cosine: NonNegativeFloat = 1.0,
        metapath: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 1.0,
        relation: str = "metapath_dict",
        pairs: PositiveInt = 8192,
        adapter: Use.adapters | None = None,
    ) -> None:
        taught = teacher_role or role
        reads = {"student": {role}, source: {taught}} if cosine or metapath else {}
        super().__init__(student, sources, reads=reads)
        if not kl + cosine + metapath > 0:
            raise ConfigError("graph/hgkd: kl, cosine and metapath are all 0, so there is nothing to learn")
        theirs = specs_of(sources, source)
        if kl and (logits := student.outputs["logits"].shape) != theirs.outputs["logits"].shape:
            raise ConfigError(f"graph/hgkd: the student's logits are {logits}, and source '{source}' has others")
        self.source, self.role, self.teacher_role = source, role, taught
        self.kl, self.cosine, self.metapath, self.temperature = kl, cosine, metapath, temperature
        self.relation, self.pairs = relation, pairs
        self.adapter: Adapter | None = None
        if cosine or metapath:
            mine, taught_spec = student.feature(role, "the student"), theirs.feature(taught, f"source '{source}'")
            self.adapter = align(mine, taught_spec, adapter) if cosine else None

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        taught, losses = sources[self.source], {}
        if self.kl:
            losses["kl"] = self.kl * soft_targets(student.logits, taught.logits, temperature=self.temperature)
        if self.adapter is not None:
            adapted = self.adapter(student.features[self.role])
            losses["cosine"] = self.cosine * one_minus_cosine(adapted, taught.features[self.teacher_role])
        if self.metapath:
            mine, theirs = student.features[self.role], taught.features[self.teacher_role]
            terms = [
                pair_similarity(mine, theirs, some(within(ends, batch.index, len(batch.view.dataset)), self.pairs))
                for ends in batch[self.relation].values()
            ]
            losses["metapath"] = self.metapath * torch.stack(terms).mean()
        return losses


def one_minus_cosine(student: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """`mean over rows of 1 - cos(student, teacher)`; no gradient reaches the teacher."""
    return (1 - F.cosine_similarity(student.float(), teacher.detach().float())).mean()


def pair_similarity(
    student: Float[Tensor, "B C"], teacher: Float[Tensor, "B D"], pairs: Int[Tensor, "2 P"]
) -> Float[Tensor, ""]:
    """`mean over pairs (i, j) of (cos(s_i, s_j) - cos(t_i, t_j))^2`; 0 with a gradient path where there are none."""
    i, j = pairs
    student, teacher = student.float(), teacher.detach().float()
    difference = F.cosine_similarity(student[i], student[j]) - F.cosine_similarity(teacher[i], teacher[j])
    return difference.square().sum() / max(len(i), 1)


def some(pairs: Int[Tensor, "2 E"], largest: int) -> Int[Tensor, "2 P"]:
    """At most so many of the pairs, drawn by torch's global generator, which the loop seeds at every step."""
    count = pairs.shape[1]
    return pairs if count <= largest else pairs[:, torch.randperm(count, device=pairs.device)[:largest]]
