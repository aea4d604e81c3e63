import numpy as np
import pytest
import torch

from mmkd.errors import DataError
from mmkd_graph.splits import in_setting, per_class

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 15, 30]))


def published(labels, seed, train, valid):
    """The published procedure in its plainest form: lists of ids per class, one draw after the other."""
    random = np.random.RandomState(seed)
    drawn = []
    for count in (train, valid):
        taken = set(np.concatenate(drawn).tolist()) if drawn else set()
        free = [[i for i, label in enumerate(labels) if label == c and i not in taken] for c in range(max(labels) + 1)]
        drawn.append(np.concatenate([random.choice(ids, count, replace=False) for ids in free]))
    return drawn


@pytest.mark.parametrize("seed", [0, 1, 9])
def test_procedure(seed):
    train, valid, test = per_class(LABELS, seed, 4, 6)
    expected = published(LABELS.tolist(), seed, 4, 6)
    assert train.tolist() == expected[0].tolist()
    assert valid.tolist() == expected[1].tolist()
    assert test.tolist() == sorted(set(range(65)) - {*train.tolist(), *valid.tolist()})


def test_golden():
    """NumPy promises never to change RandomState; if these differ, published results can't be compared any more."""
    train, valid, _ = per_class(np.arange(40) % 2, 3, 3, 2)
    assert train.tolist() == [28, 4, 2, 9, 19, 15]
    assert valid.tolist() == [10, 22, 17, 25]


def test_balance():
    train, valid, test = per_class(LABELS, 0, 4, 6)
    assert np.bincount(LABELS[train]).tolist() == [4, 4, 4]
    assert np.bincount(LABELS[valid]).tolist() == [6, 6, 6]
    assert np.bincount(LABELS[test]).tolist() == [10, 5, 20]
    assert np.bincount(LABELS[train[:4]]).tolist() == [4]


def test_small_class():
    with pytest.raises(DataError, match=r"class 1 has 15 nodes, too few for 10 labelled and 6 valid.*labels_per_class"):
        per_class(LABELS, 0, 10, 6)
    with pytest.raises(DataError, match="class 1 has 0 nodes"):
        per_class(np.array([0, 2, 0, 2]), 0, 1, 1)
    assert len(per_class(LABELS, 0, 10, 5)[2]) == 20


def test_transductive():
    train, valid, test = per_class(LABELS, 0, 4, 6)
    split = in_setting("transductive", train, valid, test, 70, 0)  # rows 65 to 69 are in no part
    assert split.setting == "transductive"
    assert list(split.test) == ["test"]
    assert split.test["test"].tolist() == test.tolist()
    assert not len(split.hidden)
    assert split.unlabelled.tolist() == sorted(set(range(70)) - set(train.tolist()))
    assert split.train.tolist() == list(range(70))


def test_production():
    train, valid, test = per_class(LABELS, 0, 4, 6)
    split = in_setting("production", train, valid, test, 70, 5)
    torch.manual_seed(5)
    held_out = test[torch.randperm(35)[:7].numpy()]
    assert split.setting == "production"
    assert split.hidden.tolist() == split.test["ind"].tolist() == sorted(held_out.tolist())
    assert split.test["tran"].tolist() == sorted(set(test.tolist()) - set(held_out.tolist()))
    assert list(split.test) == ["tran", "ind"]
    assert split.valid.tolist() == valid.tolist()
    assert split.train.tolist() == sorted(set(range(70)) - set(held_out.tolist()))
    assert not set(split.unlabelled.tolist()) & {*held_out.tolist(), *train.tolist()}
    other = in_setting("production", train, valid, test, 70, 6)
    assert other.hidden.tolist() != split.hidden.tolist()


def test_inductive():
    train, valid, test = per_class(LABELS, 0, 4, 6)
    split = in_setting("inductive", train, valid, test, 70, 5)
    unseen = in_setting("production", train, valid, test, 70, 5).test["ind"]
    assert split.setting == "inductive"
    assert list(split.test) == ["test"]
    assert torch.equal(split.test["test"], unseen)
    assert split.hidden.tolist() == sorted([*unseen.tolist(), *valid.tolist()])
    assert split.train.tolist() == sorted(set(range(70)) - set(split.hidden.tolist()))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    in_setting("production", *per_class(LABELS, 0, 4, 6), 70, 5)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
