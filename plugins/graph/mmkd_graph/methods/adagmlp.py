"""`graph/adagmlp`: perceptrons boosted one after the other, on nodes that differ from the teacher. Graph-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pydantic
import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch, View
from mmkd.distributed import share_of
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd.sources.base import Call
from mmkd.training.step import evaluating
from mmkd_graph.methods.edges import all_rows, check_outputs, spread

_WEIGHTS, _NEXT = "adagmlp/weights", "adagmlp/next"
_LEAST = 1e-16
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class AdaGMLP(Method):
    """AdaBoost over the members of the student `graph/adagmlp`.

    Rows have weights that start equal. At the start of every epoch member k gets the weights as they stand; its error
    on row i is `e_i = 1 - exp(-beta KL(p_t(i) || p_k(i)))`, its share `a_k = max(log((1 - e) / e), 0)` of their
    weighted mean e, and the weights then grow by `exp(a_k e_i)` for member k + 1 and, from the last, for the next
    epoch. The shares, over their sum, are written into the student.

    `kl`: mean over members and rows of weight times `KL(p_t / T || p_k / T)`, the weights of mean 1. `label`: mean over
    members of the cross-entropy on a random K-th of the labelled rows each, drawn anew at every step. `answer` and
    `hidden`: mean over members of the squared difference between labelled rows and the same with features masked at
    random, in the log-probabilities and, on average, in the hidden layers; left out where nothing is masked.

    The published code takes errors under dropout, from the step's own pass; here they are taken without. The task's own
    loss is left out beside this method (`task.weight = 0`).

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        temperature: T of `kl`, which is not multiplied by its square; published between 0.05 and 0.9.
        beta: how fast an error saturates; published between 0.5 and 4.
        labels: share of `label`; that of `kl` is the rest of 1.
        masked: probability that a feature is set to 0 in the masked copy; 0 leaves alignment out.
        answer: share of `answer`; that of `hidden` is the rest of 1.
        field: the features that are masked.
        target: the field with the labels.

    Raises:
        ConfigError: classes differ, or the student has no members.
    """

    citation = "Lu et al. 2024, AdaGMLP: AdaBoosting GNN-to-MLP Knowledge Distillation, KDD, arXiv 2405.14307"
    asks: ClassVar[bool] = True

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        temperature: PositiveFloat = 0.9,
        beta: PositiveFloat = 4.0,
        labels: Share = 0.5,
        masked: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0,
        answer: Share = 0.0,
        field: str = "x",
        target: str = "label",
    ) -> None:
        members, layers = roles_of(student)
        super().__init__(student, sources, reads={"student": {*members, *(layers if masked else ())}})
        check_outputs(student, sources, source, output, "graph/adagmlp")
        if not members:
            raise ConfigError("graph/adagmlp: the student has no members", 'student = { use = "graph/adagmlp" }')
        self.source, self.output, self.temperature, self.beta = source, output, temperature, beta
        self.labels, self.masked, self.answer = labels, masked, answer
        self.members, self.layers, self.field, self.target = members, layers, field, target

    def prepare(self, view: View, sources: Mapping[str, Any]) -> dict[str, Tensor]:
        """Equal weights, of mean 1."""
        batch = all_rows(view)
        return {_NEXT: spread(torch.ones(len(batch.index), device=batch.index.device), batch)}

    def refresh(self, epoch: int, view: View, sources: Mapping[str, Any], student: Any) -> dict[str, Tensor]:
        """The weights that each member learns with, those that stand after the last, and the student's shares."""
        batch = all_rows(view)
        taught = sources[self.source].signals(batch, None, None).outputs[self.output].float().log_softmax(1)
        with evaluating(student):
            said = student(batch).features
        weight, weights, shares = batch[_NEXT], [], []
        for role in self.members:
            weights.append(weight)
            divergence = F.kl_div(said[role].float().log_softmax(1), taught, reduction="none", log_target=True).sum(1)
            share, weight = boosted(1 - (-self.beta * divergence).exp(), weight)
            shares.append(share)
        total = torch.stack(shares)
        student.module.shares.copy_(total / total.sum())
        return {_WEIGHTS: spread(torch.stack(weights, 1), batch), _NEXT: spread(weight, batch)}

    def forward(
        self, student: Signals, sources: Mapping[str, Signals], batch: Batch, call: Call | None = None
    ) -> dict[str, Tensor]:
        taught = sources[self.source].outputs[self.output].detach().float() / self.temperature
        known = batch.labelled.nonzero().flatten()
        said = [student.features[role].float() for role in self.members]
        divergences = [
            _weighted_kl(mine / self.temperature, taught, weight)
            for mine, weight in zip(said, batch[_WEIGHTS].T, strict=True)
        ]
        parts = known[torch.randperm(len(known), device=known.device)].tensor_split(len(said))
        entropies = [
            share_of(
                F.cross_entropy(mine[rows], batch[self.target][rows], reduction="sum"), torch.tensor(len(rows)).to(rows)
            )
            for mine, rows in zip(said, parts, strict=True)
        ]
        losses = {
            "kl": (1 - self.labels) * torch.stack(divergences).mean(),
            "label": self.labels * torch.stack(entropies).mean(),
        }
        if self.masked and len(known):
            assert call is not None
            some = batch.take(known)
            kept = torch.rand_like(some[self.field]) >= self.masked
            other = call(some.replace(**{self.field: some[self.field] * kept})).features
            answers = [
                F.mse_loss(student.features[role][known].log_softmax(1), other[role].log_softmax(1))
                for role in self.members
            ]
            hidden = [F.mse_loss(student.features[role][known], other[role]) for role in self.layers]
            losses["answer"] = self.answer * torch.stack(answers).mean()
            if hidden:
                losses["hidden"] = (1 - self.answer) * torch.stack(hidden).mean()
        return losses


def roles_of(student: Specs) -> tuple[list[str], list[str]]:
    """The taps of a `graph/adagmlp` student: its members in order, and their hidden layers."""
    members = [role for role in student.features if role.removeprefix("member").isdigit()]
    layers = [role for role in student.features if role.startswith("member") and "-hidden" in role]
    return sorted(members, key=lambda role: int(role.removeprefix("member"))), sorted(layers)


def boosted(errors: Float[Tensor, " R"], weights: Float[Tensor, " R"]) -> tuple[Float[Tensor, ""], Float[Tensor, " R"]]:
    """A member's share, at least a hair above 0, and the weights after it, of mean 1."""
    error = (weights * errors).sum() / weights.sum() + _LEAST
    share = ((1 - error) / error + _LEAST).log().clamp(min=_LEAST)
    grown = weights * (share * errors).exp()
    return share, grown / grown.mean()


def _weighted_kl(
    said: Float[Tensor, "B C"], taught: Float[Tensor, "B C"], weights: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    divergence = F.kl_div(said.log_softmax(1), taught.log_softmax(1), reduction="none", log_target=True).sum(1)
    return (weights * divergence).mean()
