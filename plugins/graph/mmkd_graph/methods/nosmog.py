"""`graph/nosmog`: noise-robust, structure-aware multilayer perceptrons. Needs edges at inference for its positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd.sources.base import Call
from mmkd_graph.methods.edges import check_outputs


class NOSMOG(Method):
    """NOSMOG's three losses; what it adds to the student's input is the field `position`, which needs a node's edges.

    `kl`: the student learns the teacher's answers, as in GLNN. `similarity`: mean over all pairs of rows of the batch
    of `(<t_i, t_j> - <g_i, g_j>)^2` with `g = ReLU(W s + b)` of the student's features s, as wide as the teacher's t.
    `adversarial`: KL between the teacher's answers on the true inputs and the student's on inputs that were moved, by
    at most `radius` in each value, to where it is largest: projected gradient ascent by sign from a random start.

    Without `position` among the student's inputs it is graph-free, and the paper's ablation without positions.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        role: the student's tap, a vector per row.
        teacher_role: the teacher's tap; the same role where left out.
        similarity: weight of that loss; 0 leaves it out. Published between 0.1 and 1e-9, since it is not normalised.
        adversarial: weight of that loss; 0 leaves it out.
        radius: published between 0.005 and 0.1.
        steps: of the ascent; each moves by a quarter of the radius.
        fields: the inputs that are moved.

    Raises:
        ConfigError: classes differ, or there is no field to move.
        LayoutError: a tap does not exist, or is no vector.
    """

    citation = (
        "Tian et al. 2023, Learning MLPs on Graphs: A Unified View of Effectiveness, Robustness, and Efficiency, ICLR,"
        " arXiv 2208.10010, section 4"
    )
    at_inference = "`position`, made of a node's edges, where the student reads it"
    asks: ClassVar[bool] = True

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
        similarity: NonNegativeFloat = 0.1,
        adversarial: NonNegativeFloat = 0.1,
        radius: PositiveFloat = 0.04,
        steps: NonNegativeInt = 5,
        fields: tuple[str, ...] = ("x", "position"),
    ) -> None:
        taught = teacher_role or role
        super().__init__(student, sources, reads={"student": {role}, source: {taught}} if similarity else {})
        check_outputs(student, sources, source, output, "graph/nosmog")
        if adversarial and not fields:
            raise ConfigError("graph/nosmog: there is no field to move", 'fields = ["x"], or adversarial = 0')
        self.source, self.output, self.role, self.teacher_role = source, output, role, taught
        self.similarity, self.adversarial = similarity, adversarial
        self.radius, self.steps, self.fields = radius, steps, fields
        self.projection: nn.Module | None = None
        if similarity:
            shapes = (
                student.feature(role, "the student").shape,
                specs_of(sources, source).feature(taught, f"source '{source}'").shape,
            )
            if any(len(shape) != 1 for shape in shapes):
                raise LayoutError(f"graph/nosmog compares one vector per row, not features of shapes {shapes}")
            (mine,), (theirs,) = shapes
            self.projection = nn.Sequential(nn.Linear(mine, theirs), nn.ReLU())

    def forward(
        self, student: Signals, sources: Mapping[str, Signals], batch: Batch, call: Call | None = None
    ) -> dict[str, Tensor]:
        teacher = sources[self.source]
        taught = teacher.outputs[self.output]
        losses = {"kl": soft_targets(student.outputs[self.output], taught, temperature=1.0)}
        if self.projection is not None:
            mine = gather_rows(self.projection(student.features[self.role]))
            theirs = gather_rows(teacher.features[self.teacher_role])
            losses["similarity"] = self.similarity * gram_difference(mine, theirs)
        if self.adversarial:
            assert call is not None

            def divergence(inputs: Mapping[str, Tensor]) -> Tensor:
                return soft_targets(call(batch.replace(**inputs)).outputs[self.output], taught, temperature=1.0)

            worst = ascend(divergence, {name: batch[name] for name in self.fields}, self.radius, self.steps)
            losses["adversarial"] = self.adversarial * divergence(worst)
        return losses


def gram_difference(student: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """`mean over i, j of (<s_i, s_j> - <t_i, t_j>)^2`; no gradient reaches the teacher."""
    student, teacher = student.float(), teacher.detach().float()
    return F.mse_loss(student @ student.T, teacher @ teacher.T)


def ascend(
    loss: Callable[[Mapping[str, Tensor]], Tensor], inputs: Mapping[str, Tensor], radius: float, steps: int
) -> dict[str, Tensor]:
    """Inputs within `radius` of the given ones, value by value, at which the loss is large.

    Madry et al. 2018, arXiv 1706.06083: a uniformly random start, then `steps` steps of `radius / 4` along the sign of
    the gradient, each followed by a projection into the ball. No gradient reaches the weights, nor the result.
    """
    moves = {name: torch.empty_like(value).uniform_(-radius, radius) for name, value in inputs.items()}
    for _ in range(steps):
        asked = [move.requires_grad_() for move in moves.values()]
        slopes = torch.autograd.grad(loss({name: inputs[name] + move for name, move in moves.items()}), asked)
        moves = {
            name: (move.detach() + radius / 4 * slope.sign()).clamp(-radius, radius)
            for (name, move), slope in zip(moves.items(), slopes, strict=True)
        }
    return {name: inputs[name] + move for name, move in moves.items()}
