"""The audio recipes, shrunk: run, exported, and predicting from a recording in a process without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from mmkd import recipes
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.errors import BindingError
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_weights

CONTROLS = ("shuffled-teacher", "restricted-teacher")
SHRUNK = [
    *("dataset.rooms=8", "dataset.takes=1", "dataset.labels_per_class=3", "student.width=4", "student.embedding=16"),
    *("sources.teacher.model.width=8", "sources.teacher.model.embedding=16", "sources.teacher.model.text_width=16"),
    *("sources.teacher.training.steps=60", "sources.teacher.training.lr=0.01", "sources.teacher.model.dropout=0.0"),
    *("sources.teacher.training.evaluate_every=20", "training.steps=8", "training.evaluate_every=4"),
    'evaluation.controls=["shuffled-teacher", "restricted-teacher"]',
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("audio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMKD_STATE", str(place / "state"))
        torch.set_num_threads(1)
        done = run("crossmodal/audio-text", SHRUNK, seeds=1, directory=place / "run")
        bundle = export_run(done.directory, seed=0, directory=place / "bundle").path
    return done, bundle


def test_every_arm_is_done(finished):
    arms = finished[0].result["arms"]
    names = {
        "teacher",
        "alone",
        "distilled",
        "stored-outputs",
        "without-labels",
        "shuffled-teacher",
        "restricted-teacher",
    }
    assert {name for name, arm in arms.items() if arm["status"] == "done"} == names == set(arms)
    assert set(arms["teacher"]["inputs"]["fields"]) == {"audio", "caption", "prompts"}
    for name in names - {"teacher"}:
        assert arms[name]["inputs"]["fields"] == ["audio"]


def test_the_student_keeps_the_embeddings_of_the_prompts(finished):
    recipe, _ = recipes.load((finished[0].directory / "resolved.toml").as_posix())
    experiment = Experiment(recipe)
    seeds = finished[0].directory / "seeds" / "0"
    student = experiment.model(recipe.student, 0, "student-init")
    teacher = experiment.model(recipe.sources["teacher"].model, 0, "teacher", 0)
    load_weights(student, seeds / "distilled" / "weights.safetensors")
    load_weights(teacher, seeds / "teacher" / "model0" / "weights.safetensors")
    vectors = teacher.module.eval().class_vectors(experiment.dataset.constants["prompts"])
    torch.testing.assert_close(student.module.class_vectors(), vectors)
    load_weights(student, seeds / "stored-outputs" / "weights.safetensors")
    assert not torch.allclose(student.module.class_vectors(), vectors, atol=0.1)


def test_the_report_shows_spectrograms(finished):
    folder = finished[0].directory
    (picture,) = finished[0].result["pictures"]
    assert (folder / picture["file"]).read_bytes().startswith(b"\x89PNG")
    assert "data:image/png" in (folder / "report.html").read_text(encoding="utf-8")
    for arm in ("teacher", "alone", "distilled"):
        assert arm in picture["alt"] or "none" in picture["alt"]


def test_the_student_needs_a_clip_alone(finished):
    student = Student.load(finished[1], threads=1)
    assert [entry.name for entry in student.session.get_inputs()] == ["audio"]
    assert student.fields["audio"]["rate"] == 8000
    assert student.fields["audio"]["dtype"] == "int16"
    clip = np.ones((1, 10240), np.int16)
    with pytest.raises(BindingError, match="caption"):
        student(audio=clip, caption=np.ones((1, 20), np.int64))


def test_recordings_are_predicted_without_torch(finished, tmp_path):
    wave = np.random.default_rng(0).integers(-3000, 3000, 12000).astype(np.int16)
    soundfile.write(tmp_path / "clip.wav", wave, 8000)
    soundfile.write(tmp_path / "loud.wav", np.clip(wave.astype(np.int32) * 100, -32768, 32767).astype(np.int16), 8000)
    soundfile.write(tmp_path / "fast.wav", wave, 44100)
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in ('torch', 'open_clip'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from mmkd.cli.main import main\n"
        "sys.argv = ['mmkd', 'predict', *sys.argv[1:], '--json']\n"
        "sys.exit(main())\n"
    )
    done = {}
    for name in ("clip", "loud", "fast"):
        command = [sys.executable, "-c", script, str(finished[1]), str(tmp_path / f"{name}.wav")]
        done[name] = subprocess.run(command, capture_output=True, text=True, timeout=120)
    student = Student.load(finished[1], threads=1)
    said = json.loads(done["clip"].stdout)["predictions"]
    expected = student.classify(audio=wave[None, 880:11120])
    assert said[0]["class"] == expected["class"][0]
    assert said[0]["probability"] == pytest.approx(expected["probability"][0], abs=1e-5)
    assert done["loud"].returncode == 0
    assert "loud.wav is clipped" in done["loud"].stderr
    assert done["fast"].returncode != 0
    assert "44100 samples per second where 8000 are expected" in done["fast"].stderr.replace("\n", " ")
    assert "Traceback" not in done["fast"].stderr


@pytest.mark.parametrize("name", ["audio-text", "audio-fusion", "audio-text-esc10"])
def test_recipes_read_what_they_say(name):
    recipe, _ = recipes.load(f"crossmodal/{name}")
    assert recipes.check(recipes.resolve(recipe)) is not None
    assert recipe.about["command"] == f"mmkd run crossmodal/{name}"
    assert recipe.sources["teacher"].labels == "student"
    assert "restricted-teacher" in recipe.evaluation.controls
