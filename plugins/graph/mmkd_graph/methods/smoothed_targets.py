"""`graph/smoothed-targets`: a node learns what the teacher says of itself and, in part, of its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from mmkd.data.views import Batch, View
from mmkd.layouts import Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd_graph.methods.adagmlp import roles_of
from mmkd_graph.methods.edges import all_rows, check_outputs, edges_in, spread

_TARGET = "smoothed-targets/log"


class SmoothedTargets(Method):
    """Soft targets, averaged over neighbours once before training; graph-free at inference.

    The target of node i is `(1 - a) p(i) + a mean of p(j)` over i and its neighbours j, with the teacher's
    probabilities p. With a = 0 this is GLNN; with a = 1 it is the low-frequency term of FF-G2M (Wu et al. 2023, arXiv
    2305.10758, eq. 5) with nodes weighted alike, whatever their degree. Targets are numbers by row, so batches may be
    small and edges are never looked at in a step. Where the student is `graph/adagmlp`, each of its members learns for
    itself, and the loss is their mean.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        share: a.
        temperature: of the loss, which is multiplied by its square.

    Raises:
        ConfigError: classes differ.
    """

    citation = "this library; after Wu et al. 2023, arXiv 2305.10758, eq. 5"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        temperature: PositiveFloat = 1.0,
    ) -> None:
        members, _ = roles_of(student)
        super().__init__(student, sources, reads={"student": set(members)})
        self.members = members
        check_outputs(student, sources, source, output, "graph/smoothed-targets")
        self.source, self.output, self.share, self.temperature = source, output, share, temperature

    def prepare(self, view: View, sources: Mapping[str, Any]) -> dict[str, Tensor]:
        """The logarithm of every row's target."""
        batch = all_rows(view)
        said = sources[self.source].signals(batch, None, None).outputs[self.output].float().softmax(1)
        hears, heard = edges_in(batch, loops=True)
        total = torch.zeros_like(said).index_add_(0, hears, said[heard])
        around = total / hears.bincount(minlength=len(said))[:, None]
        target = (1 - self.share) * said + self.share * around
        return {_TARGET: spread(target.clamp(min=torch.finfo(target.dtype).tiny).log(), batch)}

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = [student.features[role] for role in self.members] or [student.outputs[self.output]]
        losses = [soft_targets(mine, batch[_TARGET], temperature=self.temperature) for mine in said]
        return {"kl": torch.stack(losses).mean()}
