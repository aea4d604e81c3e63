"""`graph/lsp`: neighbours are as alike for the student as for the teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat
from torch import Tensor

from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_graph.methods.edges import edges_in


class LSP(Method):
    """Local structure preservation. The paper's students are graph networks, which need edges at inference; with an MLP
    it is graph-free.

    The neighbours of node i get the distribution `softmax over j of exp(-|z(i) - z(j)|^2 / (2 s^2))` of the features z;
    the loss is the mean over nodes that have neighbours of `KL(student's || teacher's)`. Sizes are free. Edges within
    the batch are used, so give all rows in one.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap, a vector per node.
        teacher_role: the teacher's tap; the same role where left out.
        width: s of the kernel.

    Raises:
        LayoutError: a tap does not exist.
    """

    citation = "Yang et al. 2020, Distilling Knowledge From Graph Convolutional Networks, arXiv 2003.10477, eqs. 3-6"
    at_inference = "edges, where the student is a graph network"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "penultimate",
        teacher_role: str | None = None,
        width: PositiveFloat = 10.0,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        student.feature(role, "the student")
        specs_of(sources, source).feature(taught, f"source '{source}'")
        self.source, self.role, self.teacher_role, self.width = source, role, taught, width

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        hears, heard = edges_in(batch, loops=False)
        mine, theirs = (
            structure(features.float(), hears, heard, self.width)
            for features in (student.features[self.role], sources[self.source].features[self.teacher_role])
        )
        nodes = max(len(hears.unique()), 1)
        return {"structure": (mine.exp() * (mine - theirs)).sum() / nodes}


def structure(
    features: Float[Tensor, "B C"], hears: Int[Tensor, " E"], heard: Int[Tensor, " E"], width: float
) -> Float[Tensor, " E"]:
    """Logarithm of each node's distribution over its neighbours, edge by edge."""
    distance = (features[hears] - features[heard]).square().sum(1)
    # The kernel lies in (0, 1], so that its exponential needs no shift.
    score = (-distance / (2 * width**2)).exp()
    total = torch.zeros(len(features), dtype=score.dtype, device=score.device).index_add(0, hears, score.exp())
    return score - total[hears].log()
