"""`graph/graphakd`: identifiers tell student from teacher, and the student learns to deceive them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.adapters import align
from mmkd.components import Use
from mmkd.data.views import Batch
from mmkd.distributed import share_of
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import specs_of
from mmkd.signals import Signals
from mmkd_graph.methods.edges import check_outputs, edges_in
from mmkd_graph.schemes.adversarial import Opposed


class GraphAKD(Opposed):
    """Adversarial distillation from one graph network to another, which needs edges at inference.

    Use it with `scheme = { use = "graph/adversarial" }`.

    Identifiers judge what they see as the teacher's (1) or the student's (0); s_i and t_i are embeddings of node i, the
    student's through an adapter.

    - Of logits: a residual perceptron with the classes and one judgement as outputs; it must know the labels too.
    - Of embeddings, locally: `a <s_i * d, s_j>` of both ends of an edge, the two scaled to length 1, `*` by entries.
    - Of embeddings, globally: `a <s_i * d, m>`, m the sigmoid of the mean embedding of a side. Against the teacher's m
      they tell the sides apart; against the student's m, its own embeddings are the true ones, which the student seeks
      as the identifier does.

    The student's losses: `logits`, half of being taken for the teacher and of the identifier's class loss on labelled
    rows; `l1`, mean over rows of `|z_s - z_t|_1`; `local` and `global`. The task's loss stands beside them. Edges
    within the batch are used, self loops added, so give all rows in one.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        role: the student's tap.
        teacher_role: the teacher's tap; the same role where left out.
        logits, l1, embeddings: weights of the student's losses, the last of `local` and `global`; 0 leaves one out.
        target: the field with the labels.
        adapter: an adapter to lead the student's embedding through, instead of the one that layouts call for.

    Raises:
        ConfigError: classes differ, or nothing is to be identified.
        LayoutError: a tap does not exist, or no adapter joins the two.
    """

    citation: ClassVar[str] = (
        "He et al. 2022, Compressing Deep Graph Neural Networks via Adversarial Knowledge Distillation, KDD, arXiv"
        " 2205.11678"
    )
    at_inference = "edges, where the student is a graph network"

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
        logits: NonNegativeFloat = 1.0,
        l1: NonNegativeFloat = 1.0,
        embeddings: NonNegativeFloat = 1.0,
        target: str = "label",
        adapter: Use.adapters | None = None,
    ) -> None:
        taught = teacher_role or role
        if not logits + embeddings > 0:
            raise ConfigError("graph/graphakd: logits and embeddings are both 0, so there is nothing to identify")
        super().__init__(student, sources, reads={"student": {role}, source: {taught}} if embeddings else {})
        check_outputs(student, sources, source, output, "graph/graphakd")
        self.source, self.output, self.role, self.teacher_role, self.target = source, output, role, taught, target
        self.logits, self.l1, self.embeddings = logits, l1, embeddings
        identifiers: dict[str, nn.Module] = {}
        if logits:
            identifiers["logits"] = LogitIdentifier(student.outputs[output].shape[0])
        self.adapter: nn.Module | None = None
        if embeddings:
            theirs = specs_of(sources, source).feature(taught, f"source '{source}'")
            self.adapter = align(student.feature(role, "the student"), theirs, adapter)
            identifiers |= {name: Likeness(theirs.shape[0]) for name in ("local", "global")}
        self.oppose(nn.ModuleDict(identifiers))

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said, taught = student.outputs[self.output].float(), sources[self.source].outputs[self.output].float().detach()
        losses = {}
        if self.logits:
            deceived, classes = judged(self.adversary["logits"](said), 1), self._classes(said, batch)
            losses["logits"] = self.logits * (deceived + classes) / 2
        if self.l1:
            losses["l1"] = self.l1 * (said - taught).abs().sum(1).mean()
        if self.embeddings:
            mine, theirs = self._embeddings(student, sources)
            losses["local"] = self.embeddings * judged(self._along_edges(mine, batch), 1)
            against = judged(self.adversary["global"](mine, summary(theirs)), 1)
            losses["global"] = self.embeddings * (against + self._own(mine, theirs))
        return losses

    def judge(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said, taught = student.outputs[self.output].float(), sources[self.source].outputs[self.output].float()
        losses = {}
        if self.logits:
            judgement = judged(self.adversary["logits"](taught), 1) + judged(self.adversary["logits"](said), 0)
            classes = self._classes(taught, batch) + self._classes(said, batch)
            losses["logits"] = (judgement + classes) / 2
        if self.embeddings:
            mine, theirs = (side.detach() for side in self._embeddings(student, sources))
            losses["local"] = judged(self._along_edges(theirs, batch), 1) + judged(self._along_edges(mine, batch), 0)
            seen = [self.adversary["global"](side, summary(theirs)) for side in (theirs, mine)]
            losses["global"] = judged(seen[0], 1) + judged(seen[1], 0) + self._own(mine, theirs)
        return losses

    def _embeddings(self, student: Signals, sources: Mapping[str, Signals]) -> tuple[Tensor, Tensor]:
        assert self.adapter is not None
        theirs = sources[self.source].features[self.teacher_role].detach().float()
        return self.adapter(student.features[self.role]).float(), theirs

    def _classes(self, logits: Float[Tensor, "B C"], batch: Batch) -> Float[Tensor, ""]:
        """The logit identifier's cross-entropy on labelled rows; 0 without any."""
        known = batch.labelled
        told = self.adversary["logits"].classes(logits[known])
        return share_of(F.cross_entropy(told, batch[self.target][known], reduction="sum"), known.sum())

    def _along_edges(self, side: Float[Tensor, "B C"], batch: Batch) -> Float[Tensor, " E"]:
        one, other = edges_in(batch, loops=True)
        return self.adversary["local"](side[one], F.normalize(side, dim=1)[other])

    def _own(self, mine: Float[Tensor, "B C"], theirs: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """Against the student's summary, which the student and the identifier both make small."""
        likeness, own = self.adversary["global"], summary(mine)
        return judged(likeness(mine, own), 1) + judged(likeness(theirs, own), 0)


class LogitIdentifier(nn.Module):
    """`W_2 ReLU(z + W_1 z + b)`: a score per class, and one for being the teacher's."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(classes, classes), nn.Linear(classes, classes + 1, bias=False)

    def forward(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """The judgement's logit."""
        return self._scores(logits)[:, -1]

    def classes(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores of the classes."""
        return self._scores(logits)[:, :-1]

    def _scores(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, "B D"]:
        return self.last(F.relu(logits + self.first(logits)))


class Likeness(nn.Module):
    """`a <x / |x| * d, y>` with learnt d (1 at first) and a (0.5 at first)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.diagonal, self.scale = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Float[Tensor, "B C"], y: Float[Tensor, "*B C"]) -> Float[Tensor, " B"]:
        """The judgement's logit."""
        return self.scale * (F.normalize(x, dim=1) * self.diagonal * y).sum(1)


def summary(side: Float[Tensor, "B C"]) -> Float[Tensor, " C"]:
    """Sigmoid of the mean embedding."""
    return side.mean(0).sigmoid()


def judged(logits: Float[Tensor, " B"], value: int) -> Float[Tensor, ""]:
    """Binary cross-entropy against one value for all; 0 where there is nothing to judge."""
    target = torch.full_like(logits, value)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / max(len(logits), 1)
