"""Phantom, splits and augmentation: what a seed and a setting decide, and what never happens."""

import numpy as np
import pytest
import torch

from mmkd.data import View
from mmkd.errors import ConfigError, DataError
from mmkd.training.loader import _read
from mmkd_medical.augmentation import Augmentation
from mmkd_medical.datasets.base import Parts
from mmkd_medical.datasets.brats import BraTS
from mmkd_medical.datasets.brats_slices import BraTSSlices
from mmkd_medical.datasets.phantom import Phantom, draw

SMALL = {"labelled": 2, "unlabelled": 2, "valid": 1, "test": 2}


@pytest.fixture(scope="module")
def phantom():
    return Phantom(**SMALL, target="whole")


def patients(dataset, rows):
    return set(dataset.groups[rows].tolist())


class TestPhantom:
    def test_a_patient_is_a_function_of_world_and_number(self):
        again, other = draw(0, 3), draw(1, 3)
        for name, scan in draw(0, 3).sequences.items():
            np.testing.assert_array_equal(scan, again.sequences[name])
            assert not np.array_equal(scan, other.sequences[name])

    def test_label_lies_in_the_brain(self):
        for number in range(5):
            drawn = draw(0, number)
            assert set(np.unique(drawn.label)) == {0, 1, 2, 3}
            assert (drawn.sequences["t1ce"][drawn.label > 0] > 0).all()
            assert all((scan[[0, -1]] == 0).all() for scan in drawn.sequences.values())

    @pytest.mark.parametrize(("setting", "elsewhere"), [("null", False), ("harm", True), ("harm", False)])
    def test_settings_leave_label_and_t1ce_alone(self, setting, elsewhere):
        before, after = draw(0, 2), draw(0, 2, setting, elsewhere=elsewhere)
        np.testing.assert_array_equal(before.label, after.label)
        same = [np.array_equal(before.sequences[n], after.sequences[n]) for n in ("flair", "t1", "t2")]
        assert same == [setting == "harm" and not elsewhere] * 3
        if setting == "null":
            np.testing.assert_array_equal(before.sequences["t1ce"], after.sequences["t1ce"])

    def test_what_flair_says_of_the_lesion(self):
        """Much in the positive setting, nothing in the null setting."""

        def contrast(setting):
            found = []
            for number in range(12):
                drawn = draw(0, number, setting)
                flair = drawn.sequences["flair"]
                brain = flair > 0
                inside, outside = (flair[brain & (drawn.label > 0)], flair[brain & (drawn.label == 0)])
                found.append((inside.mean() - outside.mean()) / flair[brain].std())
            return np.mean(found)

        assert contrast("positive") > 1.5
        assert abs(contrast("null")) < 0.5

    def test_harm_shows_oedema_where_there_is_none(self):
        drawn, misled = draw(0, 1), draw(0, 1, "harm", elsewhere=True)
        brighter = misled.sequences["flair"] / misled.sequences["flair"].max() > 0.75
        healthy = (drawn.label == 0) & (drawn.sequences["t1ce"] > 0)
        assert (brighter & healthy).sum() > 2 * (
            (drawn.sequences["flair"] / drawn.sequences["flair"].max() > 0.75) & healthy
        ).sum()


class TestSplit:
    def test_no_patient_is_in_two_parts(self, phantom):
        for seed in range(5):
            split = phantom.split(seed)
            parts = [
                patients(phantom, rows) for rows in (split.labelled, split.unlabelled, split.valid, split.test_rows)
            ]
            assert [len(part) for part in parts] == [2, 2, 1, 2]
            assert sum(map(len, parts)) == len(set.union(*parts)) == 7
            assert parts[1] == {5, 6}  # of the other hospital
            assert len(split.train) + len(split.valid) + len(split.test_rows) == len(phantom)

    def test_seeds_differ(self, phantom):
        assert len({frozenset(patients(phantom, phantom.split(seed).test_rows)) for seed in range(6)}) > 2

    def test_more_labels_leave_test_and_validation_alone(self, written):
        read = [BraTS(path=str(written), labelled=k, spacing=(4.0, 4.0, 8.0), pool=1) for k in (1, 2)]
        for seed in range(3):
            one, two = (dataset.split(seed) for dataset in read)
            assert one.test_rows.equal(two.test_rows)
            assert one.valid.equal(two.valid)
            assert patients(read[0], one.labelled) < patients(read[1], two.labelled)
            assert one.train.equal(two.train)

    def test_too_few_patients(self):
        with pytest.raises(ConfigError, match="3 labelled, 0 unlabelled, 1 validation and 2 test patients are wanted"):
            Parts(3, None, 1, 2).of(range(5), "medical/brats")

    def test_hidden_labels_are_blank(self, phantom):
        split = phantom.split(0)
        batch = View(phantom, split.train, split.labelled).batch(split.unlabelled)
        assert (batch["label"] == -1).all()


class TestReading:
    def test_rows(self, phantom):
        index = torch.tensor([3, 0, 11])
        read = phantom.read(index)
        for place, row in enumerate(index.tolist()):
            for name, value in phantom[row].items():
                assert read[name][place].equal(value)
        assert read["label"].dtype == torch.int64
        assert read["label"].max() <= 1

    def test_hash_says_what_is_in_it(self, phantom):
        assert phantom.content_hash() == Phantom(**SMALL, target="whole").content_hash()
        assert phantom.content_hash() != Phantom(**SMALL, target="tissues").content_hash()
        assert phantom.content_hash() != Phantom(**SMALL, target="whole", world=1).content_hash()

    def test_packed(self, packed):
        dataset = BraTSSlices(path=str(packed()), pool=2, target="tissues")
        assert dataset[0]["t1"].shape == (1, 4, 4)
        assert dataset.groups.tolist() == [0, 0, 0, 1, 1, 1]
        with pytest.raises(ConfigError, match="there are 2"):
            dataset.split(0)

    def test_absent(self, tmp_path):
        with pytest.raises(DataError, match=r"medical/brats is not on this machine.*bring it"):
            BraTS(path=str(tmp_path / "nowhere"))

    def test_one_crop_size(self):
        with pytest.raises(ConfigError, match="rows and columns"):
            Phantom(**SMALL, crop=(8, 8, 8))


class TestAugmentation:
    def sample(self):
        place = torch.arange(64.0).reshape(8, 8)
        return {"t1": place[None], "t2": 100 + place[None], "label": place.long()}

    def test_all_fields_move_together(self):
        augment = Augmentation(["t1", "t2"], "label", crop=(4, 6), flip=0.5, intensity=0.0)
        seen = set()
        for seed in range(20):
            moved = augment(self.sample(), torch.Generator().manual_seed(seed))
            assert moved["label"].shape == (4, 6)
            assert moved["t1"][0].long().equal(moved["label"])
            assert (moved["t2"][0] - 100).long().equal(moved["label"])
            seen.add(tuple(moved["label"][0, :2].tolist()))
        assert len(seen) > 10

    def test_labels_decide_nothing(self):
        """A crop that looked for the lesion would tell of labels that are hidden."""
        augment = Augmentation(["t1", "t2"], "label", crop=(4, 4), flip=0.5, intensity=0.1)
        for seed in range(10):
            first, second = (
                augment({**self.sample(), "label": label}, torch.Generator().manual_seed(seed))
                for label in (torch.zeros(8, 8, dtype=torch.long), torch.eye(8, dtype=torch.long))
            )
            assert first["t1"].equal(second["t1"])
            assert first["t2"].equal(second["t2"])

    def test_intensities_change_and_labels_do_not(self):
        augment = Augmentation(["t1", "t2"], "label", crop=(), flip=0.0, intensity=0.1)
        moved, sample = augment(self.sample(), torch.Generator().manual_seed(0)), self.sample()
        assert moved["label"].equal(sample["label"])
        scale = moved["t1"].std() / sample["t1"].std()
        assert 0.9 <= scale <= 1.1
        assert scale != 1
        assert type(moved["t1"]) is torch.Tensor

    def test_a_function_of_seed_epoch_and_row(self, phantom):
        index = torch.tensor([0, 5])
        first, again, later = (_read(phantom, 0, epoch, "cpu", index) for epoch in (0, 0, 1))
        assert first["t1ce"].equal(again["t1ce"])
        assert not first["t1ce"].equal(later["t1ce"])

    def test_switched_off(self):
        plain = Phantom(**SMALL, flip=0.0, intensity=0.0)
        assert not plain.augments
        assert plain.augment(plain[0], torch.Generator().manual_seed(0))["t1ce"].equal(plain[0]["t1ce"])
