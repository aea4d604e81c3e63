"""Prototype knowledge distillation."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def prototype_maps(
    feature: Float[Tensor, "B C *spatial"], region: Int[Tensor, "B *spatial"], classes: int
) -> tuple[Float[Tensor, "B K P"], Bool[Tensor, "B K"]]:
    """How much each position is like the mean feature of each class, in each sample.

    Arguments:
        feature: a feature map.
        region: class of each position; whatever is not in `[0, classes)` belongs to none.
        classes: K.

    Returns:
        Cosine similarity of every position with every class's prototype, 0 where the sample lacks the class; and which
        classes each sample has.
    """
    flat = feature.flatten(2)
    mask = (region.flatten(1)[:, None] == torch.arange(classes, device=region.device)[:, None]).to(flat.dtype)
    count = mask.sum(2)
    prototype = torch.einsum("bcp,bkp->bkc", flat, mask) / count.clamp(min=1)[..., None]
    return torch.einsum("bkc,bcp->bkp", F.normalize(prototype, dim=2), F.normalize(flat, dim=1)), count > 0


def prototype_similarity(
    student: Float[Tensor, "B C *spatial"],
    teacher: Float[Tensor, "B D *spatial"],
    region: Int[Tensor, "B *spatial"],
    classes: int,
) -> Float[Tensor, ""]:
    """Mean squared difference of the similarity maps of both sides, over all positions of every class in every sample.

    The channel counts are free. A class that a sample lacks is left out for this sample alone; where nothing is left
    the loss is 0, with a gradient path.

    Source:
        Wang et al. 2023, "Prototype Knowledge Distillation for Medical Segmentation with Missing Modality", ICASSP,
        arXiv 2303.09830, eqs 2-4. Prototypes are of each sample, as the equations sum over its voxels.

    Raises:
        ValueError: batch or spatial sizes differ.
    """
    if student.shape[:1] + student.shape[2:] != teacher.shape[:1] + teacher.shape[2:]:
        raise ValueError(f"maps of different sizes: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}")
    mine, present = prototype_maps(student.float(), region, classes)
    theirs, _ = prototype_maps(teacher.detach().float(), region, classes)
    squared = (mine - theirs).square().mean(2)
    return (squared * present).sum() / present.sum().clamp(min=1)
