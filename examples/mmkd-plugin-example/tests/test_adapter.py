"""What is particular to the adapter."""

import torch
from mmkd.layouts import VECTOR, Spec

from mmkd_example.adapter import Bottleneck


def test_the_bottleneck_is_narrower_than_both_sides():
    adapter = Bottleneck(Spec(VECTOR, (6,)), Spec(VECTOR, (10,)))
    assert torch.linalg.matrix_rank(adapter.layers[1].weight @ adapter.layers[0].weight) == 3
