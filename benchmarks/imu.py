"""A watch taught by a camera: UTD-MHAD in three protocols, the exported student, and the motion generator.

    MMKD_DATA=... python -m benchmarks.imu cross-subject few-labels folds export --json imu.json
    python -m benchmarks.imu embedded harm bound          # generated motion; `benchmarks.null` has the null setting
    MMKD_DATA=... python -m benchmarks.imu generator      # generated and real readings side by side

Accuracy in %, mean and sample standard deviation over seeds. Finished arms stay under `--directory`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import savgol_filter, welch

from benchmarks.rows import Row, arguments, show
from mmkd import recipes
from mmkd.binding import Bound
from mmkd.deployment.export import export
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_weights

SOURCE = "exploratory measurement, other networks, 3 or 5 seeds"
REAL, MADE = "crossmodal/vision-to-imu-utd", "crossmodal/vision-to-imu"
FEW = ["dataset.labels_per_class=4", "training.labelled_batch=16"]  # and unlabelled pairs
FOLDS = [
    "dataset.protocol=leave-one-subject-out",
    "dataset.validation=true",
    "training.select=best",
    "sources.teacher.training.select=best",
]
# part: (recipe, changes, seeds, {arm: reference})
STUDIES: dict[str, tuple[str, list[str], int, dict[str, str]]] = {
    "cross-subject": (
        REAL,
        [],
        5,
        {"alone": "88.8±1.3", "distilled": "90.1±1.2", "teacher": "87.7±0.5", "both": "89.2±0.7"},
    ),
    "few-labels": (
        REAL,
        [*FEW, 'evaluation.controls=["shuffled-teacher", "labelled-only", "self-training"]', "arms={}"],
        5,
        {"alone": "83.6±2.9", "distilled": "86.1±1.3", "teacher": "73.8±3.5"},
    ),
    "folds": (REAL, [*FOLDS, "evaluation.controls=[]", "arms={}"], 8, {}),
    "embedded": (MADE, [], 5, {}),
    "harm": (MADE, ["dataset.setting=harm", "evaluation.controls=[]", "arms={}"], 5, {}),
    "bound": (MADE, ["dataset.labels_per_class=24", "evaluation.controls=[]", "arms={}", "methods=[]"], 3, {}),
}
WRISTS = range(21)  # actions of UTD-MHAD with the unit on the right wrist
BANDS = ((0.0, 1.0), (1.0, 3.0), (3.0, 6.0), (6.0, 12.0), (12.0, 25.0))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("parts", nargs="+", choices=[*STUDIES, "export", "generator"])
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmarks/imu"))
    options = parser.parse_args()
    rows: list[Row] = []
    for part in options.parts:
        if part == "export":
            rows += exported(options.directory)
        elif part == "generator":
            rows += generator()
        else:
            rows += study(part, options.directory)
    show(rows, options.json)


def study(part: str, directory: Path) -> list[Row]:
    """A run of one recipe: its proof table is printed, its arms become rows."""
    recipe, changes, seeds, references = STUDIES[part]
    table = recipes.resolve(recipes.load(recipe, changes)[0])
    if not table["arms"]:  # then no arm reads a second source
        table["sources"] = {"teacher": table["sources"]["teacher"]}
    done = run(table, seeds=seeds, directory=directory / part)
    print(f"\n== {part}\n{done.table()}\n")
    rows = []
    for name, arm in done.result["arms"].items():
        if arm["status"] == "done":
            value = f"{100 * arm['mean']:.1f}±{100 * arm['sd']:.1f}"
            reference = references.get(name, "")
            rows.append(Row(f"{part}, {name}", value, "%", reference, SOURCE if reference else ""))
    return rows + [
        Row(f"{part}, {c['candidate']} against {c['baseline']}", c["verdict"], "") for c in done.result["comparisons"]
    ]


def exported(directory: Path) -> list[Row]:
    """The student of the cross-subject run as a bundle, and its teachers beside it, one clip on one thread."""
    place = directory / "cross-subject"
    if not (place / "result.json").exists():
        study("cross-subject", directory)
    bundles = {"student": Student.load(export_run(place, seed=0, directory=directory / "bundle").path, threads=1)}
    recipe, _ = recipes.load((place / "resolved.toml").as_posix())
    experiment = Experiment(recipe)
    batch = experiment.view(0, "test").batch(experiment.split(0).test_rows[:64])
    for name, table in recipe.sources.items():
        assert table.model is not None
        model = experiment.model(table.model, 0, "teacher")
        assert isinstance(model, Bound)
        load_weights(model, place / "seeds" / "0" / name / "model0" / "weights.safetensors")
        model.eval()
        made = export(
            model, batch, experiment.dataset.fields, experiment.task(), directory / f"bundle-{name}", examples=False
        )
        bundles[name] = Student.load(made.path, threads=1)
    rows = []
    for name, bundle in bundles.items():
        inputs = [entry.name for entry in bundle.session.get_inputs()]
        worst = bundle.manifest["parity"]["outputs"]["logits"]["max_abs_difference"]
        clip = {field: batch[field][:1].numpy() for field in inputs}
        rows += [
            Row(f"export, {name}: inputs", ", ".join(inputs), "", "imu" if name == "student" else ""),
            Row(f"export, {name}: largest difference from torch", f"{worst:.1e}", "", "<= 1e-4"),
            Row(f"export, {name}: size", bundle.manifest["sizes"]["model.onnx"] / 1000, "kB"),
            Row(f"export, {name}: latency of one clip", latency(bundle, clip), "ms"),
        ]
    return rows


def latency(bundle: Student, clip: dict[str, NDArray[Any]], repeats: int = 200) -> float:
    """Median milliseconds of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        bundle(clip)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[10:]))


def generator() -> list[Row]:
    """Generated readings beside real ones of wrist actions, and virtual readings beside the measured ones of a clip.

    Virtual: the generator's accelerometer on the path of a joint that the Kinect saw, smoothed. It is no part of the
    generator, which never differentiates a skeleton; it checks the physics against what a real unit felt.
    """
    from mmkd_crossmodal.datasets.utd_mhad import recordings
    from mmkd_crossmodal.motion.generate import generate

    real = recordings()
    chosen = [row for row, (action, _, _) in enumerate(real.ids) if action - 1 in WRISTS]
    made = [clip for clip in generate(0, 16, 1) if 3 <= clip.action <= 10]  # those of the right arm
    sets = {"UTD-MHAD": [real.imus[row] for row in chosen], "generated": [clip.imu for clip in made]}
    rows = []
    for what, channels, unit in (("|acc|", slice(0, 3), "g"), ("|gyro|", slice(3, 6), "deg/s")):
        sizes = {name: [np.linalg.norm(clip[:, channels], axis=1) for clip in clips] for name, clips in sets.items()}
        for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
            ours, theirs = (
                float(np.quantile(np.concatenate(sizes[name]), quantile)) for name in ("generated", "UTD-MHAD")
            )
            rows.append(
                Row(f"generator, {what}, quantile {quantile}", f"{ours:.4g}", unit, f"{theirs:.4g}", "UTD-MHAD")
            )
        spectra = {name: np.mean([shares(clip) for clip in clips], 0) for name, clips in sizes.items()}
        for band, ours, theirs in zip(BANDS, spectra["generated"], spectra["UTD-MHAD"], strict=True):
            where = f"generator, {what}, share of variance at {band[0]:g} to {band[1]:g} Hz"
            rows.append(Row(where, f"{ours:.3f}", "", f"{theirs:.3f}", "UTD-MHAD"))
    for name, joint, wanted in (("right wrist", 10, "0.57"), ("left wrist", 6, "0.16"), ("right ankle", 18, "0.03")):
        pairs = [virtual(real.skeletons[row], real.imus[row], joint) for row in chosen]
        correlation, ratio = np.median(pairs, 0)
        rows.append(
            Row(f"virtual |acc| of the {name}, correlation with the unit", f"{correlation:.2f}", "", wanted, SOURCE)
        )
        rows.append(Row(f"virtual |acc| of the {name}, sd against the unit's", f"{ratio:.2f}", "ratio"))
    return rows


def shares(signal: NDArray[Any]) -> NDArray[np.float64]:
    """Shares of a signal's variance in `BANDS`."""
    frequency, power = welch(signal - signal.mean(), 50.0, nperseg=min(100, len(signal)), detrend=False)
    parts = np.array([power[(frequency >= low) & (frequency < high)].sum() for low, high in BANDS])
    return parts / max(parts.sum(), 1e-12)


def virtual(skeleton: NDArray[Any], imu: NDArray[Any], joint: int) -> tuple[float, float]:
    """Correlation and ratio of standard deviations of a joint's virtual |acc| and the measured one.

    Both sensors were started and stopped together, so the clip's frames are spread over the unit's duration.
    """
    from mmkd_crossmodal.motion.sensors import specific_force

    rate = 50.0 * len(skeleton) / len(imu)
    path = savgol_filter(skeleton[:, joint].astype(np.float64), 9, 3, axis=0)[:, [0, 2, 1]]  # z up
    force = np.linalg.norm(specific_force(path, np.tile(np.eye(3), (len(path), 1, 1)), rate), axis=1)
    measured = np.linalg.norm(imu[:, :3], axis=1)
    kernel = np.ones(5) / 5  # about one frame: the Kinect cannot follow faster
    smooth = np.convolve(measured, kernel, "same")
    felt = np.interp(np.linspace(0, len(imu) - 1, len(force)), np.arange(len(imu)), smooth)
    inner = slice(3, -3)
    return float(np.corrcoef(force[inner], felt[inner])[0, 1]), float(force[inner].std() / felt[inner].std())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
