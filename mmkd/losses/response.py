"""Response-based distillation: the student learns the teacher's softened outputs."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from mmkd.losses._common import mean, no_autocast, position_weights, shape_error, upcast


def soft_targets(
    student_logits: Float[Tensor, "*shape"],
    teacher_logits: Float[Tensor, "*shape"],
    *,
    temperature: float = 4.0,
    dim: int = 1,
    mask: Bool[Tensor, "..."] | None = None,
    weights: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, ""]:
    """Knowledge distillation with temperature: how far the student's softened distribution is from the teacher's.

    `T^2 * mean over positions of sum_c p_t(c) * (log p_t(c) - log p_s(c))`, with `p = softmax(logits / T)` over `dim`.
    A position is a sample, or one pixel, voxel or time step of it: the size of an image does not change the weight of
    the loss. The factor T^2 keeps the size of the gradient roughly constant when T changes. A class to which the
    teacher gives probability 0 adds nothing, also if its logit is -inf.

    Arguments:
        student_logits: [B, C] or [B, C, *positions]; with another `dim`, the classes stand there.
        teacher_logits: same shape.
        temperature: T > 0.
        dim: the class dimension.
        mask: True where a position counts; [B], or any leading dimensions of the logits without `dim`. Whatever stands
            at the other positions, NaN included, has no influence. All False gives 0.
        weights: non-negative weight of each position, shaped as a mask would be; the mean is then the weighted mean,
            `sum(w * kl) / sum(w)`. No gradient reaches them.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes differ, `dim` is not among them, `temperature` is not positive, or mask or weights don't fit.

    Source:
        Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2:
        eq. 1 and the factor T^2.
    """
    shape = student_logits.shape
    if shape != teacher_logits.shape:
        raise shape_error("logits must have one shape", student_logits, teacher_logits)
    if not -len(shape) <= dim < len(shape):
        raise ValueError(f"no class dimension {dim} in logits of shape {tuple(shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    dim %= len(shape)
    student, teacher = upcast(student_logits), upcast(teacher_logits.detach())
    importance = position_weights(shape[:dim] + shape[dim + 1 :], mask, weights, student.dtype)
    if importance is not None:
        counts = (importance > 0).unsqueeze(dim)
        student, teacher = torch.where(counts, student, 0.0), torch.where(counts, teacher, 0.0)
    with no_autocast(student):
        # The clamps keep 0 * -inf, of a class that is excluded, from being NaN.
        lowest = torch.finfo(student.dtype).min
        student_log = (student / temperature).log_softmax(dim).clamp(min=lowest)
        teacher_log = (teacher / temperature).log_softmax(dim).clamp(min=lowest)
        if importance is None:
            positions = max(student.numel() // shape[dim], 1)
            return F.kl_div(student_log, teacher_log, reduction="sum", log_target=True) * (temperature**2 / positions)
        divergence = F.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(dim)
        return temperature**2 * mean(divergence, importance)
