"""Similarity-preserving distillation: inputs that are alike for the teacher become alike for the student."""

from jaxtyping import Float
from torch import Tensor

from mmkd.losses._common import mean, no_autocast, paired_rows, unit


def similarity_preserving(
    student: Float[Tensor, "B *student_dims"], teacher: Float[Tensor, "B *teacher_dims"]
) -> Float[Tensor, ""]:
    """Similarity-preserving loss: `||G_s - G_t||_F^2 / B^2`.

    G is the B x B matrix of inner products of the flattened features, each row divided by its L2 norm. A row of G has
    length 1 whatever B is, so the value falls as 1 / B.

    Arguments:
        student: [B, ...], flattened per sample.
        teacher: [B, ...]; the sizes after B are free.

    Returns:
        A scalar. A sample whose features are all zero has a row of zeros.

    Raises:
        ValueError: batch sizes differ, or a side has no dimension besides the batch.

    Source:
        Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation", arXiv 1907.09682, eqs 2-4.
    """
    student, teacher = paired_rows(student, teacher)
    with no_autocast(student):
        return mean((_similarities(student) - _similarities(teacher)).square())


def _similarities(rows: Float[Tensor, "B D"]) -> Float[Tensor, "B B"]:
    return unit(rows @ rows.mT)
