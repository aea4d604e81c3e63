"""Optimisers and learning rates as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mmkd.training.settings import Training


def make_optimiser(parameters: Iterable[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    """One optimiser over models and adapters alike; torch's fused kernels."""
    parameters = list(parameters)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, settings.lr, settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, settings.lr, weight_decay=settings.weight_decay, fused=True)


def learning_rate(settings: Training, step: int) -> float:
    """Learning rate at `step`; a pure function, so that a resume needs no scheduler state."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = min((step - settings.warmup) / max(settings.steps - settings.warmup, 1), 1.0)
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * (1 - done) if settings.schedule == "linear" else settings.lr


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all gradients, a scalar; not finite if any entry is not."""
    norms = torch._foreach_norm(list(gradients))
    if norms[0].is_cuda:  # one synchronisation for all of them
        return torch.linalg.vector_norm(torch.stack(norms))
    return torch.tensor(math.hypot(*(norm.item() for norm in norms)))
