"""Randomness as a function of (seed, purpose, counters), never a running stream.

So arms are paired (same purpose, same seed, same draws whatever else ran before) and a resumed run is bit-equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

PURPOSES = ("split", "teacher", "student-init", "order", "augmentation", "dropout", "adapter", "control", "latency",
            "refresh")  # fmt: skip  # keys depend on the places: what is new goes to the end
_BLOCK = 256


def key(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit key for one draw, through numpy's `SeedSequence`.

    Arguments:
        seed: the run's seed.
        purpose: one of `PURPOSES`; purposes are independent of each other.
        counters: epoch, row, step ... each non-negative.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), *counters))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU generator at the start of the stream of one key."""
    return torch.Generator().manual_seed(key(seed, purpose, *counters))


@contextmanager
def forked(seed: int, purpose: str, *counters: int) -> Iterator[None]:
    """Torch's global generators set to one key inside the block and put back after it."""
    with torch.random.fork_rng():
        set_global(key(seed, purpose, *counters))
        yield


def set_global(value: int) -> None:
    """Seed torch's global generators; on a CPU without the walk over other devices that `torch.manual_seed` makes."""
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)


@contextmanager
def fixed_order(device: torch.device) -> Iterator[None]:
    """Inside the block the threads of a CPU add in one order; a GPU is left in the mode that its user chose.

    Else the gradient of a gather (`h[edges]`) depends on which thread adds first, and bits differ from run to run.
    """
    if device.type != "cpu":
        yield
        return
    # Not `use_deterministic_algorithms`, which imports the compiler: seconds.
    memory: Any = torch.utils.deterministic
    mode, fills = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    if mode == 0:
        torch.set_deterministic_debug_mode("warn")
        memory.fill_uninitialized_memory = False  # slow, and for debugging
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fills


class StepKeys:
    """`keys[step]` = a key per optimiser step, drawn in blocks: one `SeedSequence` a step would show in the loop."""

    def __init__(self, seed: int, purpose: str, rank: int = 0) -> None:
        self.seed, self.purpose, self.rank = seed, purpose, rank
        self._number, self._block = -1, np.empty(0, np.uint64)

    def __getitem__(self, step: int) -> int:
        number, place = divmod(step, _BLOCK)
        if number != self._number:
            sequence = np.random.SeedSequence(self.seed, spawn_key=(PURPOSES.index(self.purpose), self.rank, number))
            self._number, self._block = number, sequence.generate_state(_BLOCK, np.uint64) >> np.uint64(1)
        return int(self._block[place])
