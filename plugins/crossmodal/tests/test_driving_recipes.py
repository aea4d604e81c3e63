"""LiDAR to camera, shrunk: run, pictured, exported, and predicting boxes from a picture in a process without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmkd import recipes
from mmkd.data.root import find
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.errors import BindingError, ConfigError, DataError
from mmkd.evaluation.run import run
from mmkd_crossmodal.datasets.driving import Driving
from mmkd_crossmodal.datasets.kitti import Kitti

SHRUNK = [
    *("dataset.drives=8", "dataset.frames=4", "dataset.labelled_drives=4", "dataset.beams=32"),
    *("dataset.azimuth_step=0.5", "student.width=4", "sources.teacher.training.steps=110", "training.steps=6"),
    *("sources.teacher.training.evaluate_every=55", "sources.teacher.training.batch_size=6"),
    *("training.batch_size=2", "training.labelled_batch=2", "evaluation.latency=false"),
    'evaluation.controls=["shuffled-teacher", "restricted-teacher"]',
    'arms.unidistill={methods=[{use="crossmodal/unidistill"}]}',
    'task.difficulty="hard"',
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("lidar")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMKD_STATE", str(place / "state"))
        torch.set_num_threads(1)
        done = run("crossmodal/lidar-to-camera", SHRUNK, seeds=1, directory=place / "run")
        bundle = export_run(done.directory, seed=0, directory=place / "bundle").path
    return done, bundle


def test_every_arm_is_done(finished):
    arms = finished[0].result["arms"]
    names = {"teacher", "alone", "distilled", "unidistill", "shuffled-teacher", "restricted-teacher"}
    assert {name for name, arm in arms.items() if arm["status"] == "done"} == names == set(arms)
    assert arms["teacher"]["inputs"]["fields"] == ["depth", "camera"]
    for name in names - {"teacher"}:
        assert arms[name]["inputs"]["fields"] == ["image", "camera"]
    assert finished[0].result["dataset"]["unit"] == "drive"
    wanted = {"ap_bev_30", "ap_3d_50", "ap_bev_70", "ap_bev_30, 15 to 30 m", "ap_bev_30, visible", "depth error, %"}
    assert wanted <= set(arms["alone"]["metrics"])


def test_the_report_shows_boxes(finished):
    done, _ = finished
    shown = done.result["pictures"]
    assert 1 <= len(shown) <= 4
    page = (done.directory / "report.html").read_text()
    for picture in shown:
        with Image.open(done.directory / picture["file"]) as image:
            assert image.width > 500
        assert picture["caption"] in page
        assert "distilled" in picture["alt"]
        assert "truth" in picture["alt"]
    assert page.count('src="data:image/png;base64,') == len(shown)


def test_the_student_needs_its_camera_alone(finished):
    student = Student.load(finished[1], threads=1)
    assert [entry.name for entry in student.session.get_inputs()] == ["image"]
    assert (student.fields["image"]["dtype"], student.fields["image"]["shape"]) == ("uint8", [3, 48, 192])
    assert student.manifest["task"]["rows"]["units"][:7] == ["m"] * 6 + ["rad"]
    assert list(student.manifest["outputs"]) == ["boxes"]
    with pytest.raises(BindingError, match="depth"):
        student(image=np.zeros((1, 3, 48, 192), np.uint8), depth=np.zeros((1, 1, 48, 192), np.float32))
    with pytest.raises(DataError, match="type float32 where uint8"):
        student(image=np.zeros((1, 3, 48, 192), np.float32))


def test_a_picture_is_predicted_without_torch(finished, tmp_path):
    """A recorded picture of 192 x 58 pixels, one twice as large, and one of another shape."""
    data = Driving(drives=4, frames=1, beams=8, azimuth_step=2.0)
    seen = data.samples["image"][0].permute(1, 2, 0).numpy()
    recorded = np.concatenate([np.zeros((10, 192, 3), np.uint8), seen])
    Image.fromarray(recorded).save(tmp_path / "frame.png")
    Image.fromarray(recorded).resize((384, 116), Image.Resampling.NEAREST).save(tmp_path / "larger.png")
    Image.new("RGB", (192, 192)).save(tmp_path / "square.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ImportError('torch is not here')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from mmkd.cli.main import main\n"
        "sys.argv = ['mmkd', 'predict', *sys.argv[1:]]\n"
        "sys.exit(main())\n"
    )

    def predict(name, *options):
        command = [sys.executable, "-c", script, str(finished[1]), str(tmp_path / name), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    done = predict("frame.png", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["predictions"]
    student = Student.load(finished[1], threads=1)
    boxes = student(image=data.samples["image"][:1].numpy())["boxes"][0]
    kept = boxes[boxes[:, 7] >= 0.1]
    assert len(rows) == len(kept)
    for row, box in zip(rows, kept, strict=True):
        assert [row["x (m)"], row["z (m)"], row["yaw (rad)"], row["score"]] == pytest.approx(
            box[[0, 2, 6, 7]], abs=1e-4
        )
    done = predict("larger.png", "--out", str(tmp_path / "boxes.csv"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "boxes.csv").read_text().splitlines()[0].endswith("length (m),yaw (rad),score")
    for name, said in (
        ("square.png", "192 x 192 pixels where 192 x 58"),
        ("broken.png", "no picture that can be read"),
    ):
        done = predict(name)
        assert done.returncode != 0
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["crossmodal/lidar-to-camera", "crossmodal/lidar-to-camera-kitti"])
def test_recipes_read_what_they_say(name):
    recipe, _ = recipes.load(name)
    assert recipes.check(recipes.resolve(recipe)) is not None
    assert recipe.about["command"].startswith(f"mmkd run {name}")
    assert recipe.student.inputs == {"x": "image"}
    assert recipe.sources["teacher"].model.inputs == {"x": "depth"}
    assert recipe.sources["teacher"].labels == "student"


def test_kitti_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("MMKD_DATA", str(tmp_path))
    with pytest.raises(DataError, match="not on this machine") as raised:
        Kitti()
    assert "cvlibs.net" in str(raised.value)
    with pytest.raises(ConfigError, match="no class 'Lorry'"):
        Kitti(classes=("Lorry",))


@pytest.mark.skipif(find("kitti_drive0005") is None, reason="MMKD_DATA has no kitti_drive0005")
def test_a_real_drive_is_split_by_time():
    data = Kitti()
    split = data.split(0)
    ends = [
        (int(part[0]), int(part[-1])) for part in (split.labelled, split.unlabelled, split.valid, split.test["test"])
    ]
    assert ends == [(0, 47), (48, 94), (100, 114), (120, 153)]
    assert data.groups.unique().tolist() == [0]
    assert torch.equal(data.split(1).labelled, split.labelled)
    assert int(data.samples["present"].sum()) == 243 + 292
    with pytest.raises(ConfigError, match="95 training frames"):
        Kitti(labelled=120).split(0)
