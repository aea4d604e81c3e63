"""Pictures as inputs: size, shape, what is cut of them; and students that list what they find."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmkd.deployment import readers
from mmkd.deployment.images import open_image, resized
from mmkd.deployment.runtime import Student
from mmkd.errors import DataError, MmkdError

FIELD = {"shape": [3, 4, 8], "dtype": "uint8", "kind": "sample", "layout": "map"}


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_a_picture_of_the_right_size_is_taken_as_it_is(picture, tmp_path):
    path = tmp_path / "frame.png"
    Image.fromarray(picture[:4]).save(path)
    read = readers.read(path, {"image": FIELD})
    assert read["image"].dtype == np.uint8
    np.testing.assert_array_equal(read["image"][0], picture[:4].transpose(2, 0, 1))
    grey = readers.read(path, {"image": {**FIELD, "shape": [1, 4, 8]}})["image"]
    np.testing.assert_array_equal(grey[0, 0], np.asarray(Image.fromarray(picture[:4]).convert("L")))


def test_a_recorded_picture_is_cut_as_its_preparation_says(picture, tmp_path):
    field = {**FIELD, "preparation": {"size": [8, 6], "box": [0.0, 2.0, 8.0, 6.0]}}
    Image.fromarray(picture).save(tmp_path / "frame.png")
    read = readers.read(tmp_path / "frame.png", {"image": field})["image"][0]
    np.testing.assert_array_equal(read, picture[2:].transpose(2, 0, 1))
    ramp = np.add.outer(np.arange(6) * 8, np.arange(8) * 10).astype(np.uint8)[..., None].repeat(3, 2)
    Image.fromarray(ramp.repeat(2, 0).repeat(2, 1)).save(tmp_path / "double.png")
    double = readers.read(tmp_path / "double.png", {"image": field})["image"][0].astype(int)
    assert abs(double - ramp[2:].transpose(2, 0, 1)).max() <= 6


@pytest.mark.parametrize("ending", ["jpg", "jpeg"])
def test_jpeg(ending, tmp_path):
    Image.new("RGB", (8, 4), (200, 100, 50)).save(tmp_path / f"frame.{ending}", quality=95)
    read = readers.read(tmp_path / f"frame.{ending}", {"image": FIELD})["image"]
    assert abs(read[0].mean((1, 2)) - [200, 100, 50]).max() < 4


def test_what_is_no_picture_for_this_student(picture, tmp_path):
    path = tmp_path / "frame.png"
    Image.fromarray(picture).save(path)
    with pytest.raises(DataError, match="has 8 x 6 pixels where 8 x 4 are expected"):
        readers.read(path, {"image": FIELD})
    with pytest.raises(DataError, match="the student reads image, depth"):
        readers.read(path, {"image": FIELD, "depth": FIELD})
    with pytest.raises(DataError, match="the student reads x"):
        readers.read(path, {"x": {**FIELD, "dtype": "float32"}})
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="no picture that can be read") as raised:
        readers.read(path, {"image": FIELD})
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="there is no picture"):
        open_image(tmp_path / "absent.png")


def test_parts_outside_of_a_picture_are_black(picture):
    whole = resized(picture, [0, 0, 8, 6], (6, 8))
    np.testing.assert_array_equal(whole, picture.transpose(2, 0, 1))
    beyond = resized(picture, [-2, -1, 6, 5], (6, 8))
    assert not beyond[:, 0].any()
    assert not beyond[:, :, :2].any()
    np.testing.assert_array_equal(beyond[:, 1:, 2:], picture[:5, :6].transpose(2, 0, 1))
    assert resized(picture[..., 0], [0, 0, 8, 6], (3, 4)).shape == (1, 3, 4)


class Finder(Student):
    """A student whose outputs are given."""

    def __init__(self, task, boxes):
        self.manifest, self.boxes = {"task": task}, boxes

    def __call__(self, inputs=None, /, **fields):
        return {"boxes": self.boxes}


def test_things_are_listed_by_score():
    rows = {"output": "boxes", "columns": ["x", "score"], "units": ["m", ""], "score": "score", "from": 0.5}
    boxes = np.array([[[1.0, 0.9], [2.0, 0.4]], [[3.0, 0.1], [4.0, 0.2]], [[5.0, 0.5], [6.0, 0.7]]])
    found = Finder({"task": "Boxes", "decision": "rows", "rows": rows}, boxes).listed({})
    assert {name: values.tolist() for name, values in found.items()} == {
        "sample": [0, 2, 2],
        "x (m)": [1.0, 5.0, 6.0],
        "score": [0.9, 0.5, 0.7],
    }
    with pytest.raises(MmkdError, match="which lists nothing"):
        Finder({"task": "Classification", "decision": "argmax"}, boxes).listed({})
