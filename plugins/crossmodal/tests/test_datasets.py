"""The data sets: fields, parts that share no subject, and what the generator's settings do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd.components import Factory
from mmkd.data import View
from mmkd.data.cards import card_of
from mmkd.data.root import find
from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.datasets.clips import few_labels
from mmkd_crossmodal.datasets.motion import Motion
from mmkd_crossmodal.datasets.utd_mhad import CLASSES, UtdMhad

SMALL = {"subjects": 4, "trials": 2, "labels_per_class": 2}


@pytest.fixture(scope="module")
def motion():
    return Motion(**SMALL)


@pytest.fixture(scope="module")
def utd():
    if not find("utd_mhad/inertial.npz"):
        pytest.skip("UTD-MHAD is not in the data root")
    return UtdMhad()


def lengths(series: torch.Tensor) -> torch.Tensor:
    """Steps of each clip, by the last one that is not all zero."""
    valid = (series != 0).any(1)
    return valid.shape[1] - valid.flip(1).int().argmax(1)


def subjects_of(dataset, rows) -> set[int]:
    return set(dataset.groups[rows].tolist())


class TestMotion:
    def test_fields(self, motion):
        skeleton, imu = motion.samples["skeleton"], motion.samples["imu"]
        assert len(motion) == 4 * 2 * 15
        assert (skeleton.shape[1], imu.shape[1]) == (60, 6)
        assert motion.fields["imu"].channels[3] == "gx"
        apart = lengths(skeleton) / 30 - lengths(imu) / 50
        assert apart.abs().max() < 0.1
        for series in (skeleton, imu):  # what looks like padding is padding
            inside = torch.arange(series.shape[2]) < lengths(series)[:, None]
            assert torch.equal((series != 0).any(1), inside)
        assert (skeleton[:, 9:12, 0] == 0).all()  # the hip centre of the first frame is the origin
        assert motion.constants["class_words"].shape == (15, 64)

    @pytest.mark.parametrize("seed", range(4))
    def test_no_subject_is_in_two_parts(self, motion, seed):
        split = motion.split(seed)
        parts = [subjects_of(motion, rows) for rows in (split.train, split.valid, split.test_rows)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 4
        assert motion.samples["label"][split.labelled].bincount().tolist() == [2] * 15
        assert len(split.labelled) + len(split.unlabelled) == 15 * 2 * len(parts[0])

    def test_seeds_draw_other_subjects(self, motion):
        assert len({frozenset(subjects_of(motion, motion.split(seed).test_rows)) for seed in range(8)}) > 1

    def test_null_says_what_the_unit_says_and_no_more(self, motion):
        """Given the unit's readings the skeleton is noise: its arm is a linear function of them, the rest stands."""
        null = Motion(setting="null", **SMALL)
        assert torch.equal(null.samples["imu"], motion.samples["imu"])
        joints = null.samples["skeleton"][7, :, : lengths(null.samples["skeleton"])[7]].reshape(20, 3, -1)
        assert torch.cat([joints[:10], joints[12:]]).std(2).max() < 0.015
        imu = null.samples["imu"][7].numpy()
        instants = np.arange(joints.shape[2]) / 30
        felt = np.stack([np.interp(instants, np.arange(imu.shape[1]) / 50, row) for row in imu])
        expected = felt * np.repeat([0.05, 0.0005], 3)[:, None]
        rest = joints[10:12].reshape(6, -1).numpy() - expected
        assert rest.std(1).max() < 0.015

    def test_harm_mixes_up_all_but_the_first_trials(self, motion):
        harm = Motion(setting="harm", **SMALL)
        same = (harm.samples["skeleton"] == motion.samples["skeleton"]).all(2).all(1)
        assert torch.equal(same, torch.from_numpy(motion.trials == 0))
        assert torch.equal(harm.samples["imu"], motion.samples["imu"])
        labelled = harm.split(0).labelled
        assert same[labelled].all()

    def test_worlds_differ(self, motion):
        assert Motion(world=1, **SMALL).content_hash() != motion.content_hash() == Motion(**SMALL).content_hash()

    @pytest.mark.parametrize("wrong", [{"subjects": 2}, {"trials": 0}, {"setting": "other"}, {"labels_per_class": 0}])
    def test_wrong_configuration(self, wrong):
        with pytest.raises(ConfigError):
            Factory("datasets", {"use": "crossmodal/motion", **wrong})()


class TestUtd:
    def test_fields(self, utd):
        assert len(utd) == 861
        assert utd.samples["label"].bincount().min() >= 31
        assert len(utd.fields["label"].classes) == len(CLASSES) == 27
        first = lengths(utd.samples["imu"])
        assert (int(first.min()), int(first.max())) == (107, 326)

    @pytest.mark.parametrize("seed", range(6))
    def test_cross_subject(self, utd, seed):
        split = utd.split(seed)
        assert subjects_of(utd, split.test_rows) == {2, 4, 6, 8}
        assert len(subjects_of(utd, split.valid)) == 1
        assert subjects_of(utd, split.train) | subjects_of(utd, split.valid) == {1, 3, 5, 7}
        assert not subjects_of(utd, split.train) & subjects_of(utd, split.valid)

    def test_without_validation_all_odd_subjects_train(self, utd):
        whole = UtdMhad(validation=False).split(0)
        assert subjects_of(utd, whole.train) == {1, 3, 5, 7}
        assert not len(whole.valid)
        assert torch.equal(whole.test_rows, utd.split(0).test_rows)

    def test_folds(self):
        if not find("utd_mhad/inertial.npz"):
            pytest.skip("UTD-MHAD is not in the data root")
        folds = UtdMhad(protocol="leave-one-subject-out")
        tested = []
        for seed in range(8):
            split = folds.split(seed)
            assert split.folds
            parts = [subjects_of(folds, rows) for rows in (split.train, split.valid, split.test_rows)]
            assert [len(part) for part in parts] == [6, 1, 1]
            assert len(set().union(*parts)) == 8
            tested += split.test_rows.tolist()
        assert sorted(tested) == list(range(861))
        with pytest.raises(ConfigError, match="seeds = 8"):
            folds.split(8)

    def test_few_labels(self):
        if not find("utd_mhad/inertial.npz"):
            pytest.skip("UTD-MHAD is not in the data root")
        few = UtdMhad(labels_per_class=4)
        split = few.split(1)
        assert few.samples["label"][split.labelled].bincount().tolist() == [4] * 27
        view = View(few, split.train, split.labelled)
        hidden = view.batch(split.unlabelled[:5])["label"]
        assert hidden.tolist() == [-1] * 5

    def test_absent(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MMKD_DATA", str(tmp_path))
        for call in (UtdMhad, UtdMhad.get):
            with pytest.raises(DataError, match="not on this machine") as caught:
                call()
            assert "Inertial and Skeleton" in str(caught.value)


def test_few_labels_takes_the_lowest_ranks():
    labels, order = np.array([0, 0, 1, 1, 0, 1]), np.array([3, 1, 0, 2, 2, 1])
    chosen, others = few_labels(np.array([0, 1, 2, 3, 4]), labels, 1, order)
    assert (chosen.tolist(), others.tolist()) == ([1, 2], [0, 3, 4])
    everything, nothing = few_labels(np.array([4, 0]), labels, None, order)
    assert (everything.tolist(), len(nothing)) == ([0, 4], 0)


@pytest.mark.parametrize("name", ["crossmodal/motion", "crossmodal/utd-mhad"])
def test_cards(name):
    card = card_of(name)
    assert [field.name for field in card.fields] == ["skeleton", "imu", "label", "class_words"]
    assert card.commercial_use is (name == "crossmodal/motion")
    assert all(split.group == "subject" for split in card.splits)
