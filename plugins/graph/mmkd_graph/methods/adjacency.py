"""`graph/adjacency`: all nodes lie to each other as they do for the teacher; from one graph network to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class AdjacencyMatching(Method):
    """Global structure preservation: `mean over all pairs of rows (i, j) of (A_t(i, j) - A_s(i, j))^2`.

    A is the weighted adjacency that the features z of one side make: `cosine` of z_i and z_j, or `rbf`,
    `exp(-|u_i - u_j|^2 / (2 s^2))` of the features scaled to length 1. Widths are free. Both are bounded, so that the
    loss says the same of any architecture. The paper's students are graph networks, which need edges at inference; with
    an MLP it is graph-free.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: the student's tap, a vector per row.
        teacher_role: the teacher's tap; the same role where left out.
        kernel: which adjacency.
        width: s of `rbf`.
        rows: of a batch at most so many, drawn anew at each step: memory grows with their square.

    Raises:
        LayoutError: a tap does not exist.
    """

    citation = (
        "Joshi et al. 2022, On Representation Knowledge Distillation for Graph Neural Networks, IEEE TNNLS, arXiv"
        " 2111.04964: global structure preserving loss"
    )
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
        kernel: Literal["cosine", "rbf"] = "cosine",
        width: PositiveFloat = 1.0,
        rows: PositiveInt = 4096,
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}})
        student.feature(role, "the student")
        specs_of(sources, source).feature(taught, f"source '{source}'")
        self.source, self.role, self.teacher_role = source, role, taught
        self.kernel, self.width, self.rows = kernel, width, rows

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        mine, theirs = student.features[self.role], sources[self.source].features[self.teacher_role].detach()
        if len(mine) > self.rows:
            some = torch.randperm(len(mine), device=mine.device)[: self.rows]
            mine, theirs = mine[some], theirs[some]
        return {"adjacency": F.mse_loss(self.adjacency(mine), self.adjacency(theirs))}

    def adjacency(self, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B B"]:
        """How close every row is to every other, at most 1."""
        unit = F.normalize(features.flatten(1).float(), dim=1)
        alike = unit @ unit.T
        if self.kernel == "cosine":
            return alike
        return (-(2 - 2 * alike) / (2 * self.width**2)).exp()  # of unit vectors |u - v|^2 = 2 - 2 <u, v>
