"""The recipes, shrunk, from the run to a segmentation beside the scan."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mmkd.cli.main import main
from mmkd.data.root import data_root
from mmkd.deployment.from_run import export_run
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_weights
from mmkd.recipes import load
from mmkd_medical.datasets.phantom import AFFINE, PREPARATION
from mmkd_medical.files.nifti import to_bytes

TINY = [
    "training.steps=3",
    "training.evaluate_every=3",
    "training.batch_size=4",
    "training.log_every=1",
    "evaluation.controls=[]",
]
PATIENTS = ["dataset.labelled=1", "dataset.unlabelled=1", "dataset.valid=1", "dataset.test=2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    before = dict(os.environ)
    os.environ["MMKD_STATE"] = str(folder / "state")
    changes = [
        *TINY,
        *PATIENTS,
        "dataset.crop=[32, 32]",
        "task.window=[32, 32]",
        "sources.teacher.labels=all",
        'methods=[{use = "medical/pixel-kd"}, {use = "medical/protokd", weight = 0.1}]',
    ]
    yield run("medical/multi-to-t1ce", changes, seeds=1, directory=folder / "run")
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def bundle(finished):
    return export_run(finished.directory)


def test_run(finished):
    arms = finished.result["arms"]
    assert set(arms) == {"teacher", "alone", "distilled", "oracle-labels"}
    assert all(arm["status"] == "done" for arm in arms.values())
    assert {"dice", "hd95"} <= set(arms["distilled"]["metrics"])
    assert finished.result["dataset"]["unit"] == "patient"


def test_scan_in_segmentation_out(finished, bundle, written, tmp_path, capsys):
    """The command line gives, on the scan's own grid, what the trained student says of the same patient in memory."""
    assert bundle.reads == ("t1ce",)
    assert bundle.max_abs_difference <= 1e-4
    assert "examples.npz" in bundle.manifest["files"]  # generated data may travel
    scan, out = written / "patient_001" / "patient_001_t1ce.nii.gz", tmp_path / "out.nii.gz"
    assert main(["predict", str(bundle.path), str(scan), "--out", str(out)]) == 0
    assert f"all written to {out}" in capsys.readouterr().out
    made, source = nibabel.load(out), nibabel.load(scan)
    np.testing.assert_array_equal(made.affine, source.affine)
    assert made.header.get_zooms() == source.header.get_zooms()

    recipe, _ = load((finished.directory / "resolved.toml").as_posix())
    experiment = Experiment(recipe)
    student = experiment.model(recipe.student, 0, "student-init")
    load_weights(student, finished.directory / "seeds" / "0" / "distilled" / "weights.safetensors")
    student.eval()
    slices = torch.from_numpy(PREPARATION.image(np.asarray(source.dataobj), AFFINE))[:, None]
    view = experiment.view(0, "valid")
    batch = view.batch(view.rows[:1].expand(len(slices))).replace(t1ce=slices)
    for name in ("flair", "t1", "t2"):
        batch = batch.replace(**{name: torch.zeros_like(slices)})
    with torch.no_grad():
        expected = experiment.task().predict(student, batch)["logits"].argmax(1).numpy()
    found = np.asarray(made.dataobj).transpose(2, 0, 1)
    assert (found == expected).mean() > 0.999  # float32 may break ties


def test_predicts_without_torch(bundle, written, tmp_path):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'monai', 'scipy', 'pydantic', 'jaxtyping']))\n"
        "from mmkd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    scan = written / "patient_001" / "patient_001_t1ce.nii.gz"
    arguments = ["predict", str(bundle.path), str(scan), "--out", str(tmp_path / "out.nii")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    assert nibabel.load(tmp_path / "out.nii").shape == nibabel.load(scan).shape


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda scan: scan.read_bytes()[:5000], "cannot be read"),
        (
            lambda scan: to_bytes(np.asarray(nibabel.load(scan).dataobj), np.eye(4)),
            "voxels of 1 x 1 x 1 mm where 4 x 4 x 8",
        ),
        (lambda scan: to_bytes(np.full((9, 9, 9), np.nan, np.float32), AFFINE), "NaN"),
        (lambda scan: to_bytes(np.ones((9, 9, 9), np.float32), AFFINE), "one value everywhere"),
    ],
)
def test_bad_scans(bundle, written, tmp_path, capsys, make, words):
    (tmp_path / "scan.nii.gz").write_bytes(make(written / "patient_001" / "patient_001_t1ce.nii.gz"))
    scan, out = str(tmp_path / "scan.nii.gz"), str(tmp_path / "out.nii.gz")
    assert main(["predict", str(bundle.path), scan, "--out", out]) == 3
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(
    ("recipe", "folder"),
    [
        ("medical/flair-t1c-brats2015", "brats2015_deepmedic"),
        ("medical/multi-to-t1ce-brats2021", "brats2021_4seq_slices"),
    ],
)
def test_real_patients(recipe, folder, tmp_path, monkeypatch):
    if not (data_root() / folder).is_dir():
        pytest.skip(f"MMKD_DATA holds no {folder}")
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    done = run(recipe, [*TINY, "arms={}"], seeds=1, directory=tmp_path / "run")
    assert done.result["arms"]["distilled"]["status"] == "done"
    bundle = export_run(done.directory)
    assert bundle.reads == ("t1ce",)
    assert "examples.npz" not in bundle.manifest["files"]  # their licence lets no row travel
    assert bundle.manifest["data_licence"]


def test_a_folder_teaches_too(written, tmp_path, monkeypatch):
    """The same recipe on a BraTS-style folder in place of the embedded patients."""
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    dataset = (
        f'dataset={{use = "medical/brats", path = "{Path(written).as_posix()}", spacing = [4.0, 4.0, 8.0], pool = 1}}'
    )
    done = run("medical/multi-to-t1ce", [*TINY, dataset], seeds=1, directory=tmp_path / "run")
    assert done.result["arms"]["distilled"]["status"] == "done"
