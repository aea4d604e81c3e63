"""Keys, streams, and the order in which threads add."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
import torch

from mmkd.training.randomness import PURPOSES, StepKeys, fixed_order, forked, generator, key


def test_keys_differ_between_purposes_seeds_and_counters():
    counters = [(), *((i,) for i in range(6)), *((i, j) for i in range(4) for j in range(4)), (0, 0, 0)]
    keys = {key(seed, purpose, *counter) for seed in range(4) for purpose in PURPOSES for counter in counters}
    assert len(keys) == 4 * len(PURPOSES) * len(counters)
    assert all(0 <= each < 2**63 for each in keys)
    steps = {StepKeys(seed, "dropout", rank)[step] for seed in range(3) for rank in range(2) for step in range(600)}
    assert len(steps) == 3 * 2 * 600
    keys -= {key(seed, "dropout", *counter) for seed in range(4) for counter in counters}  # their own purpose
    assert steps.isdisjoint(keys)


def test_streams_of_different_purposes_are_independent():
    draws = np.stack([torch.randn(20_000, generator=generator(7, purpose)).numpy() for purpose in PURPOSES])
    correlations = np.corrcoef(draws) - np.eye(len(PURPOSES))
    assert np.abs(correlations).max() < 5 / math.sqrt(20_000)


def test_keys_stay_what_they_are():
    """Published runs and stored checkpoints depend on them: a new purpose goes to the end of the list."""
    assert PURPOSES[:6] == ("split", "teacher", "student-init", "order", "augmentation", "dropout")
    assert key(0, "order", 3) == 1_284_335_799_651_164_686
    assert StepKeys(1, "dropout")[300] == 4_326_550_384_628_852_614


def test_step_keys_can_be_read_in_any_order():
    forwards = [StepKeys(5, "dropout")[step] for step in range(520)]
    jumping = StepKeys(5, "dropout")
    assert [jumping[step] for step in reversed(range(520))][::-1] == forwards


def test_forked_streams_start_alike_and_leave_no_trace():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with forked(3, "student-init"):
        first = torch.rand(5)
    with forked(3, "student-init"):
        assert torch.equal(torch.rand(5), first)
    with forked(3, "adapter"):
        assert not torch.equal(torch.rand(5), first)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_fixed_order_leaves_the_users_mode(mode):
    fills = torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.set_deterministic_debug_mode(mode)
        with suppress(ZeroDivisionError), fixed_order(torch.device("cpu")):
            assert torch.get_deterministic_debug_mode() == max(mode, 1)
            raise ZeroDivisionError
        with fixed_order(torch.device("cuda")):
            assert torch.get_deterministic_debug_mode() == mode
        assert torch.get_deterministic_debug_mode() == mode
        assert torch.utils.deterministic.fill_uninitialized_memory is fills
    finally:
        torch.set_deterministic_debug_mode(0)
