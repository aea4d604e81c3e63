"""The methods read what they say, weigh as they say, and refuse what does not fit."""

import pytest
import torch

from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import MAP, Spec, Specs
from mmkd.losses import soft_targets
from mmkd.signals import Signals
from mmkd_medical.losses.balance import class_balance
from mmkd_medical.losses.prototypes import prototype_similarity
from mmkd_medical.methods.pixel_kd import PixelKD
from mmkd_medical.methods.protokd import ProtoKD


def specs(channels=4, classes=3, size=8, tap=8):
    return Specs(
        {"logits": Spec(MAP, (classes, size, size))}, {"last": Spec(MAP, (channels, tap, tap), path="net.last")}
    )


def signals(channels, seed):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 3, 8, 8, generator=draw, requires_grad=True)
    return Signals({"logits": logits}, {"last": torch.randn(4, channels, 8, 8, generator=draw, requires_grad=True)})


@pytest.fixture
def said():
    return signals(4, 0), signals(6, 1)


@pytest.fixture
def label():
    return torch.arange(256).reshape(4, 8, 8) % 3


def test_pixel_kd(said, label, batch):
    student, teacher = said
    found = PixelKD(specs(), {"teacher": specs(6)}, temperature=3.0, power=0.7)(
        student, {"teacher": teacher}, batch(label)
    )["kl"]
    weights = class_balance(teacher.logits, power=0.7)
    torch.testing.assert_close(found, soft_targets(student.logits, teacher.logits, temperature=3.0, weights=weights))
    found.backward()
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_protokd_takes_labels_where_there_are_some(said, label, batch):
    student, teacher = said
    method = ProtoKD(specs(), {"teacher": specs(6)})
    assert method.reads == {"student": {"last"}, "teacher": {"last"}}
    found = method(student, {"teacher": teacher}, batch(label, labelled=[1, 3]))["prototypes"]
    region = teacher.logits.argmax(1)
    region[[1, 3]] = label[[1, 3]]
    torch.testing.assert_close(
        found, prototype_similarity(student.features["last"], teacher.features["last"], region, 3)
    )
    found.backward()
    assert teacher.features["last"].grad is None


def test_a_hidden_label_is_not_used(said, label, batch):
    student, teacher = said
    method = ProtoKD(specs(), {"teacher": specs(6)})
    other = torch.where(torch.tensor([True, False, True, False])[:, None, None], 2 - label, label)
    losses = [method(student, {"teacher": teacher}, batch(truth, labelled=[1, 3])) for truth in (label, other)]
    assert losses[0]["prototypes"] == losses[1]["prototypes"]


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (specs(tap=4), specs(), "is of size [4, 4]"),
        (specs(tap=4), specs(tap=4), "its logits [8, 8]"),
        (specs(), Specs({}, specs().features), "has no output 'logits'"),
    ],
)
def test_protokd_refuses(student, teacher, words):
    with pytest.raises(ConfigError) as caught:
        ProtoKD(student, {"teacher": teacher})
    assert words in str(caught.value)


def test_missing_tap():
    with pytest.raises(LayoutError, match="no tap 'last'"):
        ProtoKD(Specs(specs().outputs, {}), {"teacher": specs()})
