"""`graph/infgrand`: nodes of influence teach more. Graph-free at inference with `x`; its paper's input needs edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch, View
from mmkd.distributed import share_of
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd_graph.methods.edges import all_rows, check_outputs, edge_divergence, edges_in, spread
from mmkd_graph.propagation import propagate, symmetric

_INFLUENCE = "infgrand/influence"
_BLOCK = 4096


class InfGraND(Method):
    """Influence-guided distillation: every edge and every label counts the more, the more influence its node has.

    Influence I(v): how alike v's features are to what all nodes gather in `hops` hops, between 0 and 1 (`influence`).
    `kl`: mean over edges (i, j), self loops among them, of `(g_1 + g_2 I(j)) KL(p_t(j) || p_s(i))` at temperature T: a
    node learns what the teacher says of its neighbours. `label`: mean over labelled rows of `(d_1 + d_2 I(i)) CE(i)`;
    leave the task's own loss out beside it. Edges within the batch are used, so give all rows in one.

    The paper's student reads the field `smoothed` of the data set (`smoothing = 2`), which needs a new node's edges.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        temperature: T; the loss is not multiplied by T^2.
        labels: share of `label`; that of `kl` is the rest of 1.
        plain, influenced: g_1 and g_2.
        plain_label, influenced_label: d_1 and d_2.
        hops: how far influence reaches.
        field: the features that influence is measured by.
        target: the field with the labels.

    Raises:
        ConfigError: classes differ.
    """

    citation = (
        "Eskandari et al. 2026, InfGraND: An Influence-Guided GNN-to-MLP Knowledge Distillation, TMLR, arXiv 2601.08033"
    )
    at_inference = "`smoothed`, made of a node's edges, where the student reads it"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        temperature: PositiveFloat = 1.3,
        labels: NonNegativeFloat = 0.5,
        plain: NonNegativeFloat = 1.0,
        influenced: NonNegativeFloat = 0.4,
        plain_label: NonNegativeFloat = 0.8,
        influenced_label: NonNegativeFloat = 0.1,
        hops: PositiveInt = 2,
        field: str = "x",
        target: str = "label",
    ) -> None:
        super().__init__(student, sources)
        check_outputs(student, sources, source, output, "graph/infgrand")
        self.source, self.output, self.temperature, self.labels = source, output, temperature, labels
        self.plain, self.influenced = plain, influenced
        self.plain_label, self.influenced_label = plain_label, influenced_label
        self.hops, self.field, self.target = hops, field, target

    def prepare(self, view: View, sources: Mapping[str, Any]) -> dict[str, Tensor]:
        """The influence of every row among those that the view shows."""
        gathered = view.whole[self.field]
        for _ in range(self.hops):
            gathered = propagate(gathered, view.relations["edge_index"], symmetric)
        batch = all_rows(view)
        return {_INFLUENCE: spread(influence(batch[self.field], gathered[view.rows]), batch)}

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = student.outputs[self.output].float()
        taught = (sources[self.source].outputs[self.output].float() / self.temperature).softmax(1)
        hears, heard = edges_in(batch, loops=True)
        weight = self.plain + self.influenced * batch[_INFLUENCE]
        kl = edge_divergence(said / self.temperature, hears, taught[heard], weight[heard])
        losses = {"kl": (1 - self.labels) * kl}
        if self.labels:
            known = batch.labelled
            each = F.cross_entropy(said[known], batch[self.target][known], reduction="none")
            weight = self.plain_label + self.influenced_label * batch[_INFLUENCE][known]
            losses["label"] = self.labels * share_of((weight * each).sum(), known.sum())
        return losses


def influence(x: Float[Tensor, "R F"], gathered: Float[Tensor, "R F"]) -> Float[Tensor, " R"]:
    """`sum over j of (cos(x_i, g_j) - low) / (high - low)`, over its largest value; low and high are over all pairs.

    Algorithm 1 of the paper, some rows at a time. All 1 where every pair is alike.
    """
    mine, theirs = F.normalize(x, dim=1), F.normalize(gathered, dim=1)
    low, high = float("inf"), -float("inf")
    for rows in mine.split(_BLOCK):
        alike = rows @ theirs.T
        low, high = min(low, float(alike.min())), max(high, float(alike.max()))
    total = mine @ theirs.sum(0) - low * len(theirs)
    if high <= low:
        return torch.ones_like(total)
    return total / total.max()
