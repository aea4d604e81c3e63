"""`graph/hire`: answers, and how the embeddings of nodes of different types are correlated.

HIRE (Liu et al. 2022) has no public code, and what follows is a reading of what its abstract fixes: a first-order,
node-level term that carries the teacher's prediction logits, and a second-order, relation-level term that imitates the
relational correlation between node embeddings of different types. It is not the authors' implementation.

Node level, with z the logits of a row and T the temperature (Hinton's form):

    L_node = T^2 * mean over rows i of KL(softmax(z_t(i) / T) || softmax(z_s(i) / T))

Relation level. Of a row i, e(i, 0) is its own last embedding and e(i, a), a = 1 .. A, the mean of the last embeddings
of its neighbours of type a (0 where it has none). Correlation is taken as the cosine:

    R(i)[a, b] = cos(e(i, a), e(i, b))        L_relation = mean over i and over a < b of (R_s(i)[a, b] - R_t(i)[a, b])^2

Two more readings of "between types" are offered. `level = "type"` first averages e(., a) over the rows of the batch, so
that one matrix describes the whole graph. A student that has embeddings of rows alone, such as a multilayer perceptron,
has no correlation between types of its own; given such an embedding h (adapted to the teacher's width by a linear map
W), the term asks it to stand to the teacher's other types as the teacher's own row does:

    L_relation = mean over i and over a >= 1 of (cos(W h(i), e_t(i, a)) - cos(e_t(i, 0), e_t(i, a)))^2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from mmkd.adapters import Adapter, align
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import TOKENS, Spec, Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class HIRE(Method):
    """`node * L_node + relation * L_relation`; the module's docstring gives both, and the reading behind them.

    Arguments:
        student, sources: measured forms.
        source: who teaches; its tap `teacher_role` gives tokens `[B, 1 + A, C]`, as `types` of `graph/hgt` does.
        student_role: the student's tap. One that gives tokens too is compared correlation by correlation; one that
            gives an embedding per row is held against the teacher's types.
        teacher_role: the teacher's tap.
        node, relation: weights of the terms; at 0 a term is left out.
        temperature: of the node level.
        level: `row` compares a matrix per row, `type` one of the batch's means.

    Raises:
        LayoutError: a tap does not exist, or no adapter joins the two.
        ConfigError: both weights are 0, types or classes differ, or `level = "type"` meets a student without types.
    """

    citation = (
        "after Liu et al. 2022, HIRE: Distilling High-order Relational Knowledge From Heterogeneous Graph Neural "
        "Networks, arXiv 2207.11887; a reading without the authors' code"
    )
    at_inference = "edges, where the student is a graph network"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        student_role: str = "types",
        teacher_role: str = "types",
        node: NonNegativeFloat = 1.0,
        relation: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 1.0,
        level: Literal["row", "type"] = "row",
    ) -> None:
        super().__init__(
            student, sources, reads={"student": {student_role}, source: {teacher_role}} if relation else {}
        )
        if not node + relation > 0:
            raise ConfigError("graph/hire: node and relation are both 0, so there is nothing to learn")
        theirs = specs_of(sources, source)
        if node and student.outputs["logits"].shape != theirs.outputs["logits"].shape:
            raise ConfigError(f"graph/hire: the student and source '{source}' differ in classes")
        self.source, self.student_role, self.teacher_role = source, student_role, teacher_role
        self.node, self.relation, self.temperature, self.level = node, relation, temperature, level
        self.adapter: Adapter | None = None
        if relation:
            self._compare(student, theirs.feature(teacher_role, f"source '{source}'"))

    def _compare(self, student: Specs, theirs: Spec) -> None:
        """Choose how the relation is compared, by the layout of the student's tap."""
        if self.student_role not in student.features and "penultimate" in student.features:
            raise ConfigError(
                f"graph/hire: the student has no tap '{self.student_role}': it embeds no other types of nodes",
                'set student_role = "penultimate" to hold its rows against the teacher\'s types, or relation = 0',
            )
        if theirs.known_layout() != TOKENS:
            raise ConfigError(f"graph/hire: tap '{self.teacher_role}' of the teacher is {theirs}, not tokens")
        mine = student.feature(self.student_role, "the student")
        if mine.known_layout() == TOKENS:
            if mine.shape[0] != theirs.shape[0]:
                raise ConfigError(f"graph/hire: the student has {mine.shape[0] - 1} types and the teacher others")
            return
        if self.level == "type":
            raise ConfigError(
                'graph/hire: level = "type" compares types with types, and the student has rows alone', 'level = "row"'
            )
        self.adapter = align(mine, Spec(mine.known_layout(), theirs.shape[1:]))

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        taught, losses = sources[self.source], {}
        if self.node:
            losses["node"] = self.node * soft_targets(student.logits, taught.logits, temperature=self.temperature)
        if self.relation:
            mine, theirs = student.features[self.student_role], taught.features[self.teacher_role].detach()
            if self.adapter is not None:
                found = rows_to_types(self.adapter(mine), theirs)
            elif self.level == "type":
                found = between_types(mine.mean(0, keepdim=True), theirs.mean(0, keepdim=True))
            else:
                found = between_types(mine, theirs)
            losses["relation"] = self.relation * found
        return losses


def between_types(student: Float[Tensor, "B T C"], teacher: Float[Tensor, "B T D"]) -> Float[Tensor, ""]:
    """Mean over rows and pairs a < b of `(cos(s_a, s_b) - cos(t_a, t_b))^2`; a zero embedding has cosine 0 with all."""
    a, b = torch.triu_indices(student.shape[1], student.shape[1], 1, device=student.device)
    return (_cosines(student, a, b) - _cosines(teacher.detach(), a, b)).square().mean()


def rows_to_types(student: Float[Tensor, "B C"], teacher: Float[Tensor, "B T C"]) -> Float[Tensor, ""]:
    """Mean over rows and types a >= 1 of `(cos(s, t_a) - cos(t_0, t_a))^2`."""
    teacher = teacher.detach().float()
    own, others = teacher[:, :1], teacher[:, 1:]
    wanted = F.cosine_similarity(own, others, dim=-1)
    return (F.cosine_similarity(student.float()[:, None], others, dim=-1) - wanted).square().mean()


def _cosines(tokens: Float[Tensor, "B T C"], a: Tensor, b: Tensor) -> Float[Tensor, "B P"]:
    tokens = tokens.float()
    return F.cosine_similarity(tokens[:, a], tokens[:, b], dim=-1)
