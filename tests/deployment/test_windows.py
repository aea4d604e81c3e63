"""Windows cover a sample, their outputs are averaged, and a bundle slides them as its manifest says."""

import numpy as np
import pytest
import torch
from torch import nn

from mmkd.data import Field
from mmkd.deployment.verify import verify
from mmkd.deployment.windows import Windows
from mmkd.errors import DataError
from mmkd.tasks.base import Task

from . import students


@pytest.mark.parametrize("length", [8, 9, 21, 32])
@pytest.mark.parametrize("size", [8, 3])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_places(length, size, overlap):
    """Nothing is left out, nothing sticks out, and neighbours overlap by the share asked for at least."""
    places = [place[0] for place in Windows([size], overlap).places([length])]
    starts = [place.start for place in places]
    assert starts[0] == 0
    assert places[-1].stop == length
    assert all(place.stop - place.start == size for place in places)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, size * (1 - overlap))).all()


def test_places_by_hand():
    places = list(Windows((4, 2), 0.5).places((7, 2)))
    assert [(p[0].start, p[1].start) for p in places] == [(0, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("shape", [(4, 6), (9, 6), (11, 13), (2, 3), (3, 20)])
def test_what_looks_at_one_position_alone_is_not_changed(shape):
    x = np.random.default_rng(0).normal(size=(2, 3, *shape)).astype(np.float32)
    out = Windows((4, 6))(lambda part: {"y": 2 * part["x"][:, :1] + 1, "z": part["x"]}, {"x": x})
    np.testing.assert_allclose(out["y"], 2 * x[:, :1] + 1, rtol=1e-6)
    np.testing.assert_allclose(out["z"], x, rtol=1e-6)


def test_overlapping_windows_are_averaged():
    """Each window says its own number; where two overlap, their mean is said."""
    numbers = iter([1.0, 3.0])
    said = Windows([4], 0.5)(
        lambda part: {"y": np.full_like(part["x"], next(numbers))}, {"x": np.zeros((1, 6), np.float32)}
    )
    assert said["y"].tolist() == [[1, 1, 2, 2, 3, 3]]


def test_first_is_central():
    assert Windows((2, 3)).centre(np.arange(20).reshape(4, 5)).tolist() == [[6, 7, 8], [11, 12, 13]]


def test_first_of_a_sample_that_fills_no_window():
    with pytest.raises(DataError, match=r"of size \[4, 2\] are smaller than the window of \[2, 3\]"):
        Windows((2, 3)).centre(np.zeros((4, 2)))


class Net(nn.Module):
    """Sees the whole of what it is given, so windows matter."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, image):
        return self.conv(image) + image.mean((2, 3), keepdim=True)


class Dense(Task):
    """A class for every position."""

    class_output = "logits"

    def __init__(self, fields):
        super().__init__(fields)
        self.outputs = {"logits": (3, None, None)}

    def describe(self):
        return {
            **super().describe(),
            "output": "logits",
            "decision": "argmax",
            "sliding_window": {"size": [8, 8], "overlap": 0.25},
        }


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A student of 8 x 8 windows, exported from samples of 12 x 9."""
    fields = {"image": Field((1, None, None), layout="map"), "label": students.LABEL}
    made = students.setup(
        students.seeded(Net), {"image": fields["image"]}, {"image": students.draw(5, 1, 12, 9)}, task=Dense(fields)
    )
    return made, made.export(tmp_path_factory.mktemp("dense") / "bundle")


class TestBundle:
    def test_the_graph_is_of_one_window(self, dense):
        _, bundle = dense
        assert bundle.load().session.get_inputs()[0].shape[1:] == [1, 8, 8]
        assert bundle.manifest["fields"]["image"]["shape"] == [1, None, None]
        assert verify(bundle.path).rows == 5

    @pytest.mark.parametrize("size", [(8, 8), (12, 9), (5, 30)])
    def test_slides(self, dense, size):
        made, bundle = dense
        x = students.draw(20, 1, *size, seed=1)
        net = made.model.module.eval()

        def run(part):
            with torch.no_grad():
                return {"logits": net(torch.from_numpy(part["image"])).numpy()}

        expected = Windows((8, 8))(run, {"image": x.numpy()})["logits"]
        np.testing.assert_allclose(bundle.load()(image=x.numpy())["logits"], expected, atol=1e-5)

    def test_every_position_is_classified(self, dense):
        _, bundle = dense
        x = students.draw(20, 1, 12, 9, seed=1).numpy()
        said = bundle.load(rows_at_once=3).classify(image=x)
        logits = bundle.load()(image=x)["logits"]
        np.testing.assert_allclose(said["logits"], logits, atol=1e-6)
        np.testing.assert_array_equal(said["class_index"], said["logits"].argmax(1))
        weights = np.exp(said["logits"].astype(np.float64))
        np.testing.assert_allclose(said["probability"], weights.max(1) / weights.sum(1))
        assert "class" not in said  # a name per position would take ten times the room of its number

    def test_another_form_is_refused(self, dense):
        with pytest.raises(DataError, match=r"\[any, 1, any, any\]"):
            dense[1].load()(image=np.zeros((2, 2, 8, 8), np.float32))
