"""Batches that are spread over processes: what a loss needs that compares the samples of a batch with each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

_MOST_DIMS = 8


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(rows: Shaped[Tensor, "B *dims"]) -> Shaped[Tensor, "WB *dims"]:
    """The rows of all processes in the order of their ranks, with gradient; `rows` itself where there is one process.

    Let each of W processes compute the same loss L of the gathered rows z, and DistributedDataParallel average:
        1. the backward pass sums over processes, so process r holds `W * dL/dz_i` for its own rows i;
        2. through its model that is `W * sum_{i of r} dL/dz_i * dz_i/dw`;
        3. the average over processes is `sum_i dL/dz_i * dz_i/dw = dL/dw`: one process's gradient, no factor to add.
    A loss that compares a process's own rows with the gathered ones and averages over its own comes out right as well.

    Arguments:
        rows: the same shape in every process, up to 8 dimensions.

    Raises:
        ValueError: the shapes differ between processes; it is raised in all of them, so that none waits for another.
    """
    if world_size() == 1:
        return rows
    shapes = _shapes(rows)
    if len(set(shapes)) > 1:
        listing = ", ".join(f"{shape} in process {number}" for number, shape in enumerate(shapes))
        raise ValueError(f"processes must gather equally many rows of one shape: {listing}")
    return _Gather.apply(rows)


def _shapes(rows: Tensor) -> list[tuple[int, ...]]:
    """The shape of every process's rows."""
    mine = torch.full((_MOST_DIMS,), -1, device=rows.device)
    mine[: rows.dim()] = torch.tensor(rows.shape, device=rows.device)
    theirs = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(theirs, mine)
    return [tuple(size for size in shape if size >= 0) for shape in torch.stack(theirs).tolist()]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)  # autograd may still need the one that it gave
        dist.all_reduce(summed)
        count = len(summed) // world_size()
        return summed[rank() * count : (rank() + 1) * count]


def agree(value: Any) -> Any:
    """Rank 0's value in every process; also a barrier, so that what rank 0 wrote before it is there after it."""
    if world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def wrap(step: nn.Module) -> nn.Module:
    """The step in DistributedDataParallel where there are several processes, else as it is."""
    if world_size() == 1:
        return step
    # An update trains some of the step's parameters, so in any one backward pass others stay without a gradient.
    return DistributedDataParallel(step, find_unused_parameters=True)


def share_of(total: Tensor, count: Tensor) -> Tensor:
    """`total / count` over the rows of all processes, for losses whose rows differ in number between processes.

    DistributedDataParallel averages gradients over W processes, so each returns W * its total / the common count.

    Arguments:
        total: sum over this process's rows, scalar.
        count: number of those rows; a common count of 0 is taken as 1.
    """
    if world_size() == 1:
        return total / count.clamp(min=1)
    common = count.clone().to(torch.long)
    dist.all_reduce(common)
    return total * world_size() / common.clamp(min=1)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group that `torchrun` announces in the environment; nothing without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
