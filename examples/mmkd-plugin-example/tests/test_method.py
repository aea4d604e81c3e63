"""The mathematics of the method."""

import torch
from mmkd.layouts import VECTOR, Spec, Specs
from mmkd.signals import Signals

from mmkd_example.method import Cosine


def test_cosine_is_0_for_one_direction_2_for_the_opposite_and_blind_to_length():
    specs = Specs(features={"penultimate": Spec(VECTOR, (3,))})
    method = Cosine(specs, {"teacher": specs})
    method.adapter = torch.nn.Identity()
    feature = torch.tensor([[1.0, 2.0, -1.0]])
    for factor, expected in ((3.0, 0.0), (-0.5, 2.0)):
        said = {"teacher": Signals({}, {"penultimate": factor * feature})}
        loss = method(Signals({}, {"penultimate": feature}), said, None)["cosine"]
        assert abs(float(loss) - expected) < 1e-6
