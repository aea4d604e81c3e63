"""The task: labelled rows alone teach, windows slide, and patients are judged by their whole volumes."""

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from torch.nn import functional as F

from mmkd.deployment.windows import Windows
from mmkd.errors import ConfigError
from mmkd.evaluation.scores import collect, score
from mmkd.signals import Signals
from mmkd_medical.overlap import dice_per_class, hausdorff95
from mmkd_medical.tasks.segmentation import Segmentation


def logits_of(classes, count=3):
    return 10 * F.one_hot(classes, count).movedim(-1, 1).float()


def made(batch, **config):
    config = {"window": (8, 8), **config}
    return Segmentation(batch.view.fields, **config)


class TestLoss:
    def test_labelled_rows_alone(self, batch):
        label = torch.arange(256).reshape(4, 8, 8) % 3
        some = batch(label, labelled=[0, 2])
        logits = torch.randn(4, 3, 8, 8, requires_grad=True)
        found = made(some).loss(Signals({"logits": logits}), some)
        reference = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
        torch.testing.assert_close(found, reference(logits[[0, 2]], label[[0, 2]][:, None]))
        found.backward()
        assert logits.grad[[1, 3]].abs().sum() == 0
        assert logits.grad[[0, 2]].abs().sum() > 0

    def test_no_labels(self, batch):
        none = batch(torch.zeros(2, 8, 8, dtype=torch.long), labelled=[])
        logits = torch.randn(2, 3, 8, 8, requires_grad=True)
        found = made(none).loss(Signals({"logits": logits}), none)
        found.backward()
        assert found == 0
        assert torch.isfinite(logits.grad).all()

    def test_falls_towards_the_truth(self, batch):
        label = torch.arange(128).reshape(2, 8, 8) % 3
        full = batch(label)
        task = made(full)
        right, wrong = (task.loss(Signals({"logits": logits_of(c)}), full) for c in (label, (label + 1) % 3))
        assert right < 0.05 < 1 < wrong


class TestPredict:
    @pytest.mark.parametrize("size", [(8, 8), (11, 13), (20, 8), (5, 9), (6, 7)])
    def test_as_monai_and_as_the_runtime(self, batch, size):
        """One answer from torch in evaluation, from MONAI by hand, and from numpy in the runtime."""
        images = torch.randn(3, 1, *size)
        some = batch(torch.zeros(3, *size, dtype=torch.long), t1ce=images)
        kernel = torch.randn(3, 1, 3, 3)

        def net(x):  # which sees the border of its window
            return F.conv2d(x + x.mean((2, 3), keepdim=True), kernel, padding=1)

        said = made(some).predict(lambda part: Signals({"logits": net(part["t1ce"])}), some)["logits"]
        torch.testing.assert_close(said, sliding_window_inference(images, (8, 8), 2, net, 0.25))
        slid = Windows((8, 8), 0.25)(
            lambda part: {"logits": net(torch.from_numpy(part["t1ce"])).numpy()}, {"t1ce": images.numpy()}
        )
        np.testing.assert_allclose(slid["logits"], said.numpy(), atol=1e-5)

    def test_every_sequence_slides_alike(self, batch):
        images = {"t1": torch.randn(2, 1, 12, 12), "flair": torch.randn(2, 1, 12, 12)}
        some = batch(torch.zeros(2, 12, 12, dtype=torch.long), **images)

        def call(part):
            return Signals({"logits": torch.cat([part["t1"], part["flair"], part["t1"] - part["flair"]], 1)})

        said = made(some).predict(call, some)["logits"]
        torch.testing.assert_close(said, call(some).logits)


class TestMetrics:
    @pytest.fixture
    def volumes(self):
        random = np.random.default_rng(0)
        return [(random.integers(0, 3, (n, 8, 8)), random.integers(0, 3, (n, 8, 8))) for n in (2, 4, 3)]

    @pytest.fixture
    def judged(self, volumes, batch):
        """Task, records and groups, the slices of all patients mixed up."""
        predicted, truth = (np.concatenate([pair[side] for pair in volumes]) for side in (0, 1))
        groups, order = np.repeat([5, 1, 9], [2, 4, 3]), np.random.default_rng(1).permutation(9)
        kept = [np.sort(np.flatnonzero(groups == group)) for group in (5, 1, 9)]
        order = np.concatenate([kept[2][:1], kept[0], kept[2][1:], kept[1]])  # a patient's own slices stay in order
        some = batch(torch.from_numpy(truth[order]))
        task = made(some, spacing=(3.0, 1.0, 2.0))
        records = collect(task, lambda _: Signals({"logits": logits_of(torch.from_numpy(predicted[order]))}), [some])
        return task, records, groups[order]

    def test_of_each_patients_volume(self, judged, volumes):
        task, records, groups = judged
        found = task.metrics(records, groups)
        dice = np.array([dice_per_class(*pair, 3)[1:] for pair in volumes])
        assert found["dice"] == pytest.approx(dice.mean())
        assert found["dice_core"] == pytest.approx(dice[:, 0].mean())
        whole = [dice_per_class(pair[0] > 0, pair[1] > 0, 2)[1] for pair in volumes]
        assert found["dice_whole"] == pytest.approx(np.mean(whole))
        assert found["hd95"] == pytest.approx(np.mean([hausdorff95(p > 0, t > 0, (3, 1, 2)) for p, t in volumes]))

    def test_groups_are_scored_in_the_order_of_unique(self, judged, volumes):
        task, records, groups = judged
        dice = [dice_per_class(*pair, 3)[1:].mean() for pair in volumes]
        np.testing.assert_allclose(task.group_scores(records, groups), [dice[1], dice[0], dice[2]])
        assert score(task, records, groups) == pytest.approx(np.mean(dice))

    def test_a_record_is_a_byte_per_pixel(self, judged):
        assert judged[1]["classes"].dtype == np.uint8
        assert judged[1]["classes"].shape == (9, 8, 8)

    def test_nothing_there_and_nothing_found(self, batch):
        label = torch.zeros(2, 8, 8, dtype=torch.long)
        some = batch(label)
        task = made(some)
        records = {"classes": np.zeros((2, 8, 8), np.uint8)}
        assert task.metrics(records, np.array([0, 1]))["dice"] == 1
        records["classes"][1, 0, 0] = 1  # background taken for core
        np.testing.assert_array_equal(task.group_scores(records, np.array([0, 1])), [1, 0])

    def test_constant(self, batch):
        label = torch.zeros(2, 8, 8, dtype=torch.long)
        label[:, :4] = 2
        some = batch(label)
        task = made(some)
        everywhere = collect(task, lambda _: Signals({"logits": logits_of(torch.full((2, 8, 8), 2))}), [some])
        assert task.constant(everywhere, everywhere) == pytest.approx((2 / 3) / 2)
        assert task.constant(everywhere, everywhere) <= score(task, everywhere, np.zeros(2))


def test_description(batch):
    said = made(batch(torch.zeros(1, 8, 8, dtype=torch.long)), overlap=0.5).describe()
    assert said["sliding_window"] == {"size": [8, 8], "overlap": 0.5}
    assert (said["decision"], said["output"]) == ("argmax", "logits")


def test_windows_of_the_wrong_rank(batch):
    with pytest.raises(ConfigError, match="samples have 2 axes"):
        made(batch(torch.zeros(1, 8, 8, dtype=torch.long)), window=(8, 8, 8))
