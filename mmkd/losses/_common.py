"""What the losses share: precision, shape errors, a mean over valid positions, and unit vectors that survive zeros."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def upcast(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """float32 for anything narrower; float32 and float64 as they are."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def no_autocast(tensor: Tensor) -> AbstractContextManager:
    """Switches autocast off on the tensor's device, so that no loss is computed in half precision unnoticed."""
    kind = tensor.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def shape_error(rule: str, student: Tensor, teacher: Tensor) -> ValueError:
    """The error for a pair of shapes that breaks `rule`."""
    return ValueError(f"{rule}: student has shape {tuple(student.shape)}, teacher {tuple(teacher.shape)}")


def paired_rows(
    student: Float[Tensor, "B *student_dims"], teacher: Float[Tensor, "B *teacher_dims"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]]:
    """Both sides as one full-precision row per sample, the teacher's without gradient.

    Raises:
        ValueError: the batch sizes differ, or a side has no dimension besides the batch.
    """
    if min(student.ndim, teacher.ndim) < 2 or len(student) != len(teacher):
        raise shape_error("expected [B, ...] features with the same B", student, teacher)
    return upcast(student).flatten(1), upcast(teacher.detach()).flatten(1)


def position_weights(
    positions: torch.Size, mask: Bool[Tensor, "..."] | None, weights: Float[Tensor, "..."] | None, dtype: torch.dtype
) -> Float[Tensor, "..."] | None:
    """One weight per position from a mask, weights, or both (0 where the mask is False); None if neither is given.

    Arguments:
        positions: shape of the values to be averaged; mask and weights may cover only its leading dimensions.

    Raises:
        ValueError: a shape that does not lead `positions`, or a mask that is not boolean.
    """
    if mask is None and weights is None:
        return None
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, not {mask.dtype}")
    for name, given in (("mask", mask), ("weights", weights)):
        if given is not None and given.shape != positions[: given.ndim]:
            raise ValueError(f"{name} of shape {tuple(given.shape)} does not fit positions of shape {tuple(positions)}")
    full = torch.ones((), dtype=dtype) if weights is None else _spread(weights.detach().to(dtype), positions)
    return full.expand(positions) if mask is None else torch.where(_spread(mask, positions), full.to(mask.device), 0.0)


def _spread(leading: Tensor, positions: torch.Size) -> Tensor:
    return leading.reshape(leading.shape + (1,) * (len(positions) - leading.ndim)).expand(positions)


def mean(values: Float[Tensor, "*shape"], weights: Float[Tensor, "*shape"] | None = None) -> Float[Tensor, ""]:
    """Weighted mean; 0 with a gradient path where nothing has weight."""
    if weights is None:
        return values.sum() / max(values.numel(), 1)
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def unit(vectors: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    """L2-normalises the last dimension; zero vectors stay zero, with a finite gradient of ordinary size."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)
