"""Segmentation with sequences missing: real patients, the cost of a whole volume, and what is exported.

    MMKD_DATA=... python -m benchmarks.brain --json brain.json

Dice in % of each test patient's volume, averaged over patients; mean and standard deviation (n - 1) over seeds, each
with its own split by patient. There are six patients of BraTS 2015 and four of BraTS 2021: too few for any verdict, and
none is given. Run directories stay under `--directory`; what is finished there is not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch

from benchmarks.rows import Row, arguments, show
from mmkd import recipes
from mmkd.data.root import data_root
from mmkd.data.views import View
from mmkd.deployment.export import export
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_weights

SETS = {"BraTS 2015": "medical/flair-t1c-brats2015", "BraTS 2021": "medical/multi-to-t1ce-brats2021"}
LABELLED = {"BraTS 2015": (1, 2, 3), "BraTS 2021": (1, 2)}
IN_RECIPE = {"BraTS 2015": 2, "BraTS 2021": 1}
EXPLORED = {  # ten patients of both sets, FLAIR and T1c, seven labelled, another U-Net and split: for orientation alone
    "teacher": "89.7±1.2",
    "alone": "55.0±7.9",
    "plain": "40.0±28.3",
    "protokd": "57.6±5.4",
}
SCAN = "brats2015_deepmedic/test/brats_2013_pat0001_1/T1c_subtrMeanDivStd.nii.gz"

_PREDICT = """
import json, sys, time
from pathlib import Path
from mmkd.deployment import readers
from mmkd.deployment.runtime import Student
bundle, scan, out, threads = sys.argv[1:]
start = time.perf_counter()
student = Student.load(bundle, threads=int(threads))
inputs = readers.read(scan, student.fields)
read = time.perf_counter()
said = student.classify(inputs)
done = time.perf_counter()
Path(out).write_bytes(readers.writer(out)(Path(out), said, Path(scan), student.manifest))
end = time.perf_counter()
loaded = sorted({"torch", "monai", "sklearn", "pydantic"} & {name.split(".")[0] for name in sys.modules})
status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the process that started this one
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps([read - start, done - read, end - done, peak, loaded]))
"""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmarks/brain"))
    options = parser.parse_args()
    rows: list[Row] = []
    for name in SETS:
        rows += _arms(name, options.seeds, options.jobs, options.directory)
    for name in SETS:
        rows += _curve(name, options.seeds, options.jobs, options.directory)
    with tempfile.TemporaryDirectory() as folder:
        rows += _exported(options.directory / "flair-t1c-brats2015", Path(folder))
    show(rows, options.json)


def _dice(result: dict, arm: str) -> str:
    values = 100 * np.array(result["arms"][arm]["per_seed"])
    spread = f"±{values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread} ({' '.join(f'{value:.0f}' for value in values)})"


def _arms(name: str, seeds: int, jobs: int, directory: Path) -> list[Row]:
    done = run(SETS[name], seeds=seeds, jobs=jobs, directory=directory / SETS[name].split("/")[1])
    verdicts = {c["verdict"] for c in done.result["comparisons"]}
    rows = [Row(f"{name}, verdicts", ", ".join(sorted(verdicts)), "", "none: too few patients")]
    for arm, found in done.result["arms"].items():
        if found.get("status") == "done":
            rows.append(Row(f"{name}, {arm}", _dice(done.result, arm), "Dice %", EXPLORED.get(arm, "")))
            rows.append(Row(f"{name}, {arm}", f"{found['metrics']['hd95']['mean']:.1f}", "HD95 mm"))
    return rows


def _curve(name: str, seeds: int, jobs: int, directory: Path) -> list[Row]:
    """More and more labelled patients, the rest unlabelled; test and validation patients stay the same."""
    rows = []
    for count in LABELLED[name]:
        changes = [f"dataset.labelled={count}", "evaluation.controls=[]", "arms={}"]
        place = directory / f"{SETS[name].split('/')[1]}-labelled-{count}"
        if count == IN_RECIPE[name]:  # run already, with all its arms
            changes, place = [], directory / SETS[name].split("/")[1]
        done = run(SETS[name], changes, seeds=seeds, jobs=jobs, directory=place)
        rows += [
            Row(f"{name}, {count} labelled, {arm}", _dice(done.result, arm), "Dice %")
            for arm in ("teacher", "alone", "distilled")
        ]
    return rows


def _exported(directory: Path, folder: Path) -> list[Row]:
    """The student of a run: what its bundle reads, how it agrees, how large and fast it and its teacher are."""
    bundle = export_run(directory, directory=folder / "student")
    manifest = bundle.manifest
    recipe, _ = recipes.load((directory / "resolved.toml").as_posix())
    experiment, seed = Experiment(recipe), manifest["extra"]["seed"]
    teacher = experiment.model(recipe.sources["teacher"].all_models[0], seed, "teacher", 0)
    load_weights(teacher, directory / "seeds" / str(seed) / "teacher" / "model0" / "weights.safetensors")
    view = experiment.view(seed, "valid")
    batch = view.batch(view.rows[:32])
    taught = export(teacher, batch, experiment.dataset.fields, experiment.task(), folder / "teacher", examples=False)
    rows = [
        Row("exported student reads", ", ".join(bundle.reads), "", "t1ce"),
        Row("largest difference from torch", f"{bundle.max_abs_difference:.1e}", "", "at most 1e-4"),
        Row("example rows in the bundle", str("examples.npz" in manifest["files"]), "", "False: non-commercial data"),
        Row("size, student / teacher", f"{_size(bundle):.1f} / {_size(taught):.1f}", "kB"),
        Row("latency of one window, 1 thread", f"{_latency(bundle.path):.2f} / {_latency(taught.path):.2f}", "ms"),
    ]
    rows += _volume("240 x 240 x 155, pixels of 4 mm, window 48", bundle.path, folder)
    return rows + _volume("240 x 240 x 155, pixels of 1 mm, window 96", _native(folder / "native"), folder)


def _native(folder: Path) -> Path:
    """A student of whole resolution. It is not trained, which changes nothing of what a prediction costs."""
    changes = [
        'dataset.path="brats2015_deepmedic/test"',
        "dataset.pool=1",
        "task.window=[96, 96]",
        "task.spacing=[1.0, 1.0, 1.0]",
    ]
    experiment = Experiment(recipes.load(SETS["BraTS 2015"], changes)[0])
    student = experiment.model(experiment.recipe.student, 0, "student-init")
    middle = torch.arange(60, 68)
    batch = View(experiment.dataset, middle, middle).batch(middle)
    return export(student, batch, experiment.dataset.fields, experiment.task(), folder, examples=False).path


def _size(bundle: object) -> float:
    return bundle.manifest["sizes"]["model.onnx"] / 1000  # type: ignore[attr-defined]


def _latency(bundle: Path, repeats: int = 50) -> float:
    """Median milliseconds of one window through onnxruntime on one thread."""
    student = Student.load(bundle, threads=1)
    window = student.manifest["task"]["sliding_window"]["size"]
    inputs = {name: np.zeros((1, 1, *window), np.float32) for name in student.fields}
    times = []
    for _ in range(repeats + 5):
        start = time.perf_counter()
        student(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[5:]))


def _volume(name: str, bundle: Path, folder: Path) -> list[Row]:
    """A whole scan in a process of its own: seconds, peak memory, and the geometry of what it writes."""
    scan, out, rows = data_root() / SCAN, folder / "out.nii.gz", []
    for threads in (1, 2):
        command = [sys.executable, "-c", _PREDICT, str(bundle), str(scan), str(out), str(threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        read, predicted, written, peak, loaded = json.loads(done.stdout)
        seconds = f"{read:.1f}, {predicted:.1f}, {written:.1f}"
        rows.append(Row(f"{name}, {threads} threads: read, predict, write", seconds, "s"))
    source, made = nibabel.load(scan), nibabel.load(out)
    same = np.array_equal(source.affine, made.affine) and source.shape == made.shape
    return [
        *rows,
        Row(f"{name}: peak memory of the process", f"{peak:.0f}", "MB"),
        Row(f"{name}: same shape and affine", str(same), "", "True"),
        Row(f"{name}: torch and the like imported", ", ".join(loaded) or "none", "", "none"),
    ]


if __name__ == "__main__":
    main()
