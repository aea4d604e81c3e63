"""Relational distillation: the student arranges the samples of a batch as the teacher does."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mmkd.losses._common import mean, no_autocast, paired_rows, unit

# Cosines (and the differences they come from) are made for so many entries at a time: temporaries stay small beside the
# two B x B x B tensors that the backward pass needs.
_BLOCK_ENTRIES = 1 << 22


def relational(
    student: Float[Tensor, "B *student_dims"],
    teacher: Float[Tensor, "B *teacher_dims"],
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Float[Tensor, ""]:
    """Relational knowledge distillation: `distance_weight * rkd_distance + angle_weight * rkd_angle`.

    Arguments:
        student: [B, ...], flattened per sample.
        teacher: [B, ...]; the sizes after B are free.
        distance_weight: weight of the pairs.
        angle_weight: weight of the triplets.

    Returns:
        A scalar; unchanged when either side is rotated, shifted or scaled as a whole.

    Raises:
        ValueError: batch sizes differ, or a side has no dimension besides the batch.

    Source:
        Park et al. 2019, "Relational Knowledge Distillation", arXiv 1904.05068, section 3.2.
    """
    return distance_weight * rkd_distance(student, teacher) + angle_weight * rkd_angle(student, teacher)


def rkd_distance(
    student: Float[Tensor, "B *student_dims"], teacher: Float[Tensor, "B *teacher_dims"]
) -> Float[Tensor, ""]:
    """Distance-wise part: `mean over all B^2 pairs (i, j) of l(d_s(i, j), d_t(i, j))`.

    d is the Euclidean distance divided by the mean of the side's positive distances; l is the Huber loss with
    threshold 1. On a side whose embeddings are all identical every d is 0.

    Arguments, returns, raises and source: see `relational`.
    """
    student, teacher = paired_rows(student, teacher)
    with no_autocast(student):
        return mean(F.smooth_l1_loss(_distances(student), _distances(teacher), reduction="none"))


def rkd_angle(
    student: Float[Tensor, "B *student_dims"], teacher: Float[Tensor, "B *teacher_dims"]
) -> Float[Tensor, ""]:
    """Angle-wise part: `mean over all B^3 triplets (i, j, k) of l(cos_s(i, j, k), cos_t(i, j, k))`.

    cos is the cosine between `e_j - e_i` and `e_k - e_i`, 0 where one of them is zero; l is the Huber loss with
    threshold 1. Memory: one B x B x B tensor per side.

    Arguments, returns, raises and source: see `relational`.
    """
    student, teacher = paired_rows(student, teacher)
    size = len(student)
    rows = max(1, _BLOCK_ENTRIES // max(1, size * max(size, student.shape[1], teacher.shape[1])))
    with no_autocast(student):
        total = student[:0].sum()
        for start in range(0, size, rows):
            anchors = slice(start, start + rows)
            total = total + F.smooth_l1_loss(_cosines(student, anchors), _cosines(teacher, anchors), reduction="sum")
        return total / max(size**3, 1)


def _distances(rows: Float[Tensor, "B D"]) -> Float[Tensor, "B B"]:
    # By differences, not by products: exact zeros for equal rows, and a zero gradient there.
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    average = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(average > 0, average, 1.0)


def _cosines(rows: Float[Tensor, "B D"], anchors: slice) -> Float[Tensor, "A B B"]:
    directions = unit(rows - rows[anchors, None])
    return directions @ directions.mT
