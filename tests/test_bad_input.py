"""What goes wrong outside mmkd is told in one line with the way out, and costs nothing that was done before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmkd import recipes
from mmkd.cli.main import main
from mmkd.evaluation.run import run
from mmkd.files import lock
from tests.moons import moons, recipe

__all__ = ["moons"]


def write(table: dict) -> str:
    Path("recipe.toml").write_text(recipes.to_toml(table), encoding="utf-8")
    return "recipe.toml"


def complain(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the one line on stderr."""
    status = main(list(arguments))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1, lines
    assert status != 0
    return status, lines[0]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ("student.use=mpl", 2, "did you mean"),
        ("student.hiden=3", 2, "student.hiden"),
        ("student.hidden=true", 2, "student.hidden"),
        ("dataset.use=moons/mons", 2, "moons/moons"),
        ("student.inputs.x=nera", 2, "nera"),
        ("student.inputs.x=label", 2, "is a label"),
        ("methods.0.source=techer", 2, "techer"),
        ("evaluation.controls=['hard-techer']", 2, "evaluation.controls"),
    ],
)
def test_wrong_settings(moons, capsys, change, status, words):
    code, line = complain(capsys, "run", write(recipe()), "--out", "run", "--set", change)
    assert (code, words in line) == (status, True), line


def test_unknown_recipe(moons, capsys):
    code, line = complain(capsys, "run", "moons/none")
    assert code == 2
    assert "mmkd list" in line


def test_nan_in_training_data_names_the_row_and_keeps_finished_arms(moons, capsys):
    table = recipe(
        seeds=1,
        dataset={"use": "moons/moons", "broken": True},
        student={"use": "mlp", "hidden": 4, "inputs": {"x": "near"}},
    )
    table["sources"]["teacher"]["model"]["inputs"] = {"x": "far"}
    code, line = complain(capsys, "run", write(table), "--out", "run")
    assert code == 5
    assert "non-finite loss at step" in line
    assert "rows" in line
    assert Path("run/seeds/0/teacher/job.json").exists()


def test_a_second_process_in_the_same_run_directory(moons, capsys):
    run(recipe(seeds=1), directory="run")
    before = Path("run/result.json").read_bytes()
    lines = [
        "from mmkd.files import lock",
        "import time",
        f"with lock({str(Path('run').resolve())!r}):",
        "    print('held', flush=True)",
        "    time.sleep(60)",
    ]
    code = "\n".join(lines)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        status, line = complain(capsys, "run", write(recipe(seeds=1)), "--out", "run")
        holder.kill()
    assert status == 4
    assert str(holder.pid) in line
    assert Path("run/result.json").read_bytes() == before
    with lock(Path("run")):
        pass  # the killed holder's lock is free again


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_weights_of_a_finished_teacher(moons, capsys, damage):
    run(recipe(seeds=1), directory="run")
    path = Path("run/seeds/0/teacher/model0/weights.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 0x01  # one bit of one weight
    path.write_bytes(bytes(data if damage == "flip" else data[:40]))
    Path("run/seeds/0/distilled/job.json").unlink()
    status, line = complain(capsys, "run", write(recipe(seeds=1)), "--out", "run")
    assert status == 4
    assert "weights.safetensors" in line
    assert Path("run/seeds/0/alone/job.json").exists()


def test_a_damaged_job_file(moons, capsys):
    run(recipe(seeds=1), directory="run")
    Path("run/seeds/0/alone/job.json").write_text('{"arm": "al', encoding="utf-8")
    status, line = complain(capsys, "run", write(recipe(seeds=1)), "--out", "run")
    assert status == 4
    assert "job.json" in line


def test_a_full_disk(moons, capsys, monkeypatch):
    run(recipe(seeds=1), directory="run")
    before = Path("run/result.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, line = complain(capsys, "run", write(recipe(seeds=1)), "--out", "run", "--seeds", "2")
    assert status == 4
    assert "space" in line.lower() or "full" in line.lower()
    assert Path("run/result.json").read_bytes() == before
    assert Path("run/seeds/0/distilled/weights.safetensors").exists()


def test_ambiguous_and_impossible_layouts(moons, capsys):
    fitnets = [{"use": "fitnets", "student_role": "penultimate", "teacher_role": "nowhere"}]
    status, line = complain(capsys, "explain", write(recipe(methods=fitnets)))
    assert status == 2
    assert "nowhere" in line
    table = recipe(methods=[{"use": "fitnets", "student_role": "penultimate"}])
    table["sources"]["teacher"]["model"]["layouts"] = {"penultimate": "map"}
    status, line = complain(capsys, "explain", write(table))
    assert status == 2
    assert "map" in line


def test_debug_shows_the_traceback(moons, capsys):
    assert main(["--debug", "run", "moons/none"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_export_of_something_that_is_no_run(moons, capsys):
    status, line = complain(capsys, "export", "nowhere")
    assert status == 2
    assert "no run directory" in line
