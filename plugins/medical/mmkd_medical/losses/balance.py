"""Weights that give every class the same say, however few its pixels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def class_balance(
    logits: Float[Tensor, "B K *spatial"], *, power: float = 1.0, floor: float = 1e-3
) -> Float[Tensor, "B *spatial"]:
    """Weight of each position: `sum_c p(c) / max(mass_c, floor * positions)^power`, `mass_c` the sum of p(c) over the
    batch.

    With power 1 the positions of a class weigh 1 together, so that a background of 98 % does not drown a lesion of 2 %;
    with 0 every position weighs 1, and the classes as much as they are large. A class that is nowhere has a little mass
    everywhere, the tail of the softmax; the floor keeps it from weighing as much as the others.

    Balance has a price: where the student cannot tell what the teacher sees, it learns the *weighted* mean of the
    teacher's answers, which leans to the rare class.

    Arguments:
        logits: the teacher's.
        power: how much of the imbalance is taken away.
        floor: share of the positions below which a class loses weight.

    Returns:
        Weights, without gradient.
    """
    probability = logits.detach().float().softmax(1)
    axes = [axis for axis in range(probability.ndim) if axis != 1]
    mass = probability.sum(axes)
    least = floor * (probability.numel() / max(probability.shape[1], 1))
    weight = mass.clamp(min=max(least, torch.finfo(mass.dtype).tiny)) ** -power
    return torch.einsum("bk...,k->b...", probability, weight)
