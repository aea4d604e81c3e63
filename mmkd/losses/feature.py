"""Feature-based distillation: the student's (adapted) features approach the teacher's."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmkd.losses._common import mean, no_autocast, position_weights, shape_error, upcast


def fitnets(
    student: Float[Tensor, "*shape"], teacher: Float[Tensor, "*shape"], *, mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, ""]:
    """Hint loss: `mean over elements of (student - teacher)^2`.

    The paper's regressor is an adapter here, applied before. The paper sums and halves; the mean makes one weight fit
    features of any size.

    Arguments:
        student: features in the teacher's space, any shape.
        teacher: same shape.
        mask: True where features count; covers any leading dimensions ([B], [B, T], ...). Whatever stands elsewhere,
            NaN included, has no influence. All False gives 0.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes differ, or the mask doesn't fit.

    Source:
        Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv 1412.6550, eq. 3.
    """
    if student.shape != teacher.shape:
        raise shape_error("features must have one shape", student, teacher)
    student, teacher = upcast(student), upcast(teacher.detach())
    importance = position_weights(student.shape, mask, None, student.dtype)
    if importance is not None:
        student, teacher = torch.where(importance > 0, student, 0.0), torch.where(importance > 0, teacher, 0.0)
    with no_autocast(student):
        return mean((student - teacher).square(), importance)
