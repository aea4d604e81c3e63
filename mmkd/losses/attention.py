"""Attention transfer: the student looks where the teacher looks."""

import torch
from jaxtyping import Float
from torch import Tensor

from mmkd.losses._common import mean, no_autocast, shape_error, unit, upcast


def attention_transfer(
    student_map: Float[Tensor, "B C *spatial"], teacher_map: Float[Tensor, "B K *spatial"], *, power: float | int = 2
) -> Float[Tensor, ""]:
    """Activation-based attention transfer.

    `mean over samples and positions of (q_s - q_t)^2`, where q is a sample's attention `mean_c |A_c|^power`, flattened
    and L2-normalised. The paper writes the norm of the difference and leaves the mean to the weight; like the
    implementations in use we take the mean, so the value falls as 1 / positions.

    Arguments:
        student_map: [B, C, *spatial], at least one spatial dimension.
        teacher_map: [B, K, *spatial]; the number of channels is free, batch and spatial sizes must agree.
        power: exponent of the activations, 1 or more; a higher one stresses the strongest positions.

    Returns:
        A scalar. A map of zeros has attention zero.

    Raises:
        ValueError: batch or spatial shapes differ or are missing, or `power` is below 1.

    Source:
        Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", arXiv 1612.03928, section 3.1: F_sum^p and
        eq. 2.
    """
    shapes = student_map.shape, teacher_map.shape
    if min(map(len, shapes)) < 3 or shapes[0][:1] + shapes[0][2:] != shapes[1][:1] + shapes[1][2:]:
        raise shape_error("expected maps [B, C, *spatial] with the same B and spatial sizes", student_map, teacher_map)
    if not power >= 1:
        raise ValueError(f"power must be 1 or more, not {power}")
    student, teacher = upcast(student_map), upcast(teacher_map.detach())
    with no_autocast(student):
        return mean((_attention(student, power) - _attention(teacher, power)).square())


def _attention(feature_map: Float[Tensor, "B C *spatial"], power: float | int) -> Float[Tensor, "B P"]:
    strength = feature_map.abs().flatten(2)
    # Attention does not depend on a sample's scale, so a constant factor changes neither value nor gradient; with the
    # peak at 1 no power overflows, and none loses a whole map to underflow.
    peak = strength.detach().amax((1, 2), keepdim=True)
    return unit((strength / torch.where(peak > 0, peak, 1.0)).pow(power).mean(1))
