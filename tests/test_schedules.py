"""Loss weights that change in the course of training."""

import pytest

from mmkd.errors import ConfigError
from mmkd.recipes import check, resolve
from mmkd.schemes.base import Decay, Ramp, value_at


def test_a_decay_covers_the_same_share_of_what_is_left_again_and_again():
    imitation = Decay(start=0.0, end=1.0, rate=0.95, every=10)  # 1 - 0.95^epoch, epochs of 10 steps
    for epoch in range(5):
        for step in (10 * epoch, 10 * epoch + 9):
            assert value_at(imitation, step) == pytest.approx(1 - 0.95**epoch)
    labels = Decay(start=1.0, end=0.0, rate=0.95, every=10)
    assert value_at(labels, 37) + value_at(imitation, 37) == pytest.approx(1)
    assert value_at(Ramp(start=0.0, end=2.0, steps=4), 3) == 1.5
    assert value_at(0.25, 100) == 0.25


def recipe(weight):
    return {
        "dataset": {"use": "graph/digits-knn"},
        "task": {"use": "classification", "weight": weight},
        "student": {"use": "mlp"},
    }


def test_a_recipe_tells_the_schedules_apart():
    decay = {"start": 1.0, "end": 0.0, "rate": 0.9, "every": 5}
    found = check(recipe(decay)).task.weight
    assert isinstance(found, Decay)
    assert isinstance(check(recipe({"start": 1.0, "end": 0.0, "steps": 5})).task.weight, Ramp)
    assert resolve(check(recipe(decay)))["task"]["weight"] == decay
    for wrong in ({**decay, "rate": 1.0}, {**decay, "every": 0}, {"start": 1.0, "end": 0.0}):
        with pytest.raises(ConfigError, match=r"task\.weight"):
            check(recipe(wrong))
