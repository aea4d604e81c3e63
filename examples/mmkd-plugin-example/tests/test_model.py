"""What is particular to the model."""

from mmkd.data import Field

from mmkd_example.model import Net


def test_the_net_is_as_wide_as_the_field_that_it_is_bound_to():
    net = Net({"x": Field((4,))}, {"logits": (3,)}, width=5)
    assert net.body[0].weight.shape == (5, 4)
