"""Distillation losses as pure functions, in the manner of `torch.nn.functional`: one file per family.

Every loss takes the student's tensor first and the teacher's second, returns one scalar, computes in float32 (float64
stays float64) outside autocast, never sends a gradient to the teacher, and raises `ValueError` naming both shapes if
they disagree. A batch without samples gives 0 with a gradient path. As anywhere in PyTorch, `backward()` belongs
outside autocast: inside it, the matrix products of the backward pass would be rounded.
"""

from mmkd.losses.attention import attention_transfer
from mmkd.losses.feature import fitnets
from mmkd.losses.relation import relational, rkd_angle, rkd_distance
from mmkd.losses.response import soft_targets
from mmkd.losses.similarity import similarity_preserving

__all__ = [
    "attention_transfer",
    "fitnets",
    "relational",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "soft_targets",
]
