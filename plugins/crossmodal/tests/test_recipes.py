"""The recipes, shrunk: run, exported, and predicting from raw files of the sensor in a process without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.io import savemat

from mmkd import recipes
from mmkd.binding import bind
from mmkd.components import Factory
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.errors import BindingError, DataError
from mmkd.evaluation.run import run
from mmkd_crossmodal.models.tcn import TCN

SHRUNK = [
    *("dataset.subjects=4", "dataset.trials=2", "dataset.labels_per_class=2", "student.width=8"),
    *("sources.teacher.model.width=8", "sources.teacher.training.steps=40", "training.steps=20"),
    *("training.evaluate_every=10", 'evaluation.controls=["shuffled-teacher", "restricted-teacher"]'),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("imu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMKD_STATE", str(place / "state"))
        torch.set_num_threads(1)
        done = run("crossmodal/vision-to-imu", SHRUNK, seeds=1, directory=place / "run")
        bundle = export_run(done.directory, seed=0, directory=place / "bundle").path
    return done, bundle


def test_every_arm_is_done(finished):
    arms = finished[0].result["arms"]
    names = {"teacher", "alone", "distilled", "vskd", "shuffled-teacher", "restricted-teacher"}
    assert {name for name, arm in arms.items() if arm["status"] == "done"} == names == set(arms)
    assert arms["teacher"]["inputs"]["fields"] == ["skeleton"]
    for name in names - {"teacher"}:
        assert arms[name]["inputs"]["fields"] == ["imu"]
    assert arms["alone"]["inputs"]["unlabelled"] == 0 < arms["distilled"]["inputs"]["unlabelled"]


def test_the_student_needs_its_sensor_alone(finished):
    student = Student.load(finished[1], threads=1)
    assert [entry.name for entry in student.session.get_inputs()] == ["imu"]
    assert student.fields["imu"]["channels"] == ["ax", "ay", "az", "gx", "gy", "gz"]
    with pytest.raises(BindingError, match="skeleton"):
        student(imu=np.ones((1, 6, 40), np.float32), skeleton=np.ones((1, 60, 30), np.float32))
    clip = np.random.default_rng(0).normal(0, 1, (1, 6, 90)).astype(np.float32)
    longer = np.concatenate([clip, np.zeros((1, 6, 33), np.float32)], 2)
    np.testing.assert_allclose(student(imu=clip)["logits"], student(imu=longer)["logits"], atol=1e-4)
    with pytest.raises(DataError, match="range"):
        student(imu=clip * 2000)
    resting = np.tile([[-9.80665], [0.1], [0.1], [1.0], [1.0], [1.0]], 60)[None]  # an arm that hangs, in m/s2
    with pytest.raises(DataError, match=r"channel 'ax', holds -9.80665, out of its range -8.1 to 8.1 .*unit is g"):
        student(imu=resting)


def test_raw_files_are_predicted_without_torch(finished, tmp_path):
    clip = np.random.default_rng(0).normal(0, 0.1, (70, 6))
    clip[:, 0] -= 1
    savemat(tmp_path / "a1_s1_t1_inertial.mat", {"d_iner": clip})
    lines = ["time,ax,ay,az,gx,gy,gz"]
    lines += [",".join(map(repr, [step / 50, *row])) for step, row in enumerate(clip.tolist())]
    (tmp_path / "clip.csv").write_text("\n".join(lines))
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ImportError('torch is not here')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from mmkd.cli.main import main\n"
        "sys.argv = ['mmkd', 'predict', *sys.argv[1:], '--json']\n"
        "main()\n"
    )
    said = []
    for name in ("a1_s1_t1_inertial.mat", "clip.csv"):
        command = [sys.executable, "-c", script, str(finished[1]), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout)["predictions"])
    assert len(said[0]) == 1
    assert said[0][0]["class"] == said[1][0]["class"]
    assert said[0][0]["probability"] == pytest.approx(said[1][0]["probability"], abs=1e-5)


def test_teacher_and_student_batches_are_the_same_rows():
    """What the teacher says is looked up by the row ids of the student's batch: two loaders cannot drift apart."""
    from mmkd.binding import Bound
    from mmkd.data import View
    from mmkd.sources.base import Knowledge
    from mmkd.sources.live import Live
    from mmkd.sources.stored import Stored, tabulate

    dataset = Factory("datasets", {"use": "crossmodal/motion", "subjects": 3, "trials": 1})()
    fields = dataset.fields
    teacher = TCN({"x": fields["skeleton"]}, {"logits": (15,)}, width=4, embedding=4)
    live = Live(Knowledge(dataset, [Bound(teacher, bind(TCN.forward, fields, {"x": "skeleton"}))]))
    view = View(dataset, torch.arange(len(dataset)), torch.arange(len(dataset)))
    rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:12]
    batch = view.batch(rows)
    stored = Stored.of(view.rows, tabulate(live, view, {"penultimate"}), live.measure(batch), len(dataset))
    with torch.no_grad():
        expected = teacher.eval()(dataset.samples["skeleton"][rows])
    for source in (live, stored):
        torch.testing.assert_close(source.signals(batch, None, None).outputs["logits"], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(live.signals(view.batch(rows.flip(0)), None, None).outputs["logits"], expected, atol=1e-3)


@pytest.mark.parametrize("name", ["crossmodal/vision-to-imu", "crossmodal/vision-to-imu-utd"])
def test_recipes_read_what_they_say(name):
    recipe, _ = recipes.load(name)
    assert recipes.check(recipes.resolve(recipe)) is not None
    assert recipe.about["command"] == f"mmkd run {name}"
    assert recipe.student.inputs == {"x": "imu"}
    assert recipe.sources["teacher"].labels == "student"
