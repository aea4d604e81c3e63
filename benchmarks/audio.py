"""An audio network taught by captions: generated scenes in three settings, ESC-10 by fold, and what students cost.

    python -m benchmarks.audio embedded fusion null harm bound curve zero-shot export --json audio.json
    MMKD_DATA=... python -m benchmarks.audio esc10

Accuracy in %, mean and sample standard deviation over seeds (folds). Finished arms stay under `--directory`; `--seeds`
and `--set` shrink a study, which then is no longer the recipe's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import Row, arguments, show
from mmkd import recipes
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_weights
from mmkd.files import read_json

SCENES = "crossmodal/audio-text"
FEW = ["evaluation.controls=[]", "arms={}", "evaluation.latency=false"]
# part: (recipe, changes)
STUDIES: dict[str, tuple[str, list[str]]] = {
    "embedded": (SCENES, []),
    "fusion": ("crossmodal/audio-fusion", []),
    "null": (SCENES, ["dataset.setting=null", 'evaluation.controls=["restricted-teacher"]', "arms={}"]),
    "harm": (SCENES, ["dataset.setting=harm", *FEW]),
    "bound": (SCENES, ["dataset.labels_per_class=64", "methods=[]", "training.labelled_batch=0", *FEW]),
    # the teacher learns from captions alone, and the students of the last arm from it alone: nobody there sees a label
    "zero-shot": (
        SCENES,
        ["evaluation.controls=[]", "task.supervised=0.0", "arms.without-labels.task.supervised=0.0"],
    ),
    "esc10": ("crossmodal/audio-text-esc10", []),
}
LABELS = (2, 4, 16)  # per class, of the curve


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("parts", nargs="+", choices=[*STUDIES, "curve", "export"])
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmarks/audio"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    rows: list[Row] = []
    for part in options.parts:
        if part == "export":
            rows += exported(options.directory / "embedded")
        elif part == "curve":
            for labels in LABELS:
                changes = [f"dataset.labels_per_class={labels}", *FEW, *options.changes]
                place = options.directory / f"curve-{labels}"
                rows += study(f"{labels} labels per class", SCENES, changes, place, options.seeds, options.jobs)
        else:
            recipe, changes = STUDIES[part]
            place = options.directory / part
            rows += study(part, recipe, [*changes, *options.changes], place, options.seeds, options.jobs)
            if part == "embedded":
                rows += orders(place)
    show(rows, options.json)


def study(part: str, recipe: str, changes: Sequence[str], place: Path, seeds: int, jobs: int) -> list[Row]:
    """A run of one recipe: its proof table is printed, its arms and verdicts become rows."""
    done = run(recipe, list(changes), seeds=seeds, jobs=jobs, directory=place)
    print(f"\n== {part}\n{done.table()}\n")
    rows = []
    for name, arm in done.result["arms"].items():
        if arm["status"] != "done":
            continue
        said = [read_json(path)["test"] for path in sorted((place / "seeds").glob(f"*/{name}/job.json"))]
        for metric in ("accuracy", "order_accuracy"):
            if metric in said[0]:
                values = [100 * one[metric] for one in said]
                spread = f"±{np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
                rows.append(Row(f"{part}, {name}: {metric.replace('_', ' ')}", f"{np.mean(values):.1f}{spread}", "%"))
        if part == "esc10":
            by_fold = " ".join(f"{100 * one['accuracy']:.1f}" for one in said)
            rows.append(Row(f"{part}, {name}: by fold", by_fold, "%"))
    for compared in (*done.result["comparisons"], *done.result["attribution"]):
        rows.append(Row(f"{part}, {compared['candidate']} against {compared['baseline']}", compared["verdict"], ""))
    return rows


def orders(place: Path) -> list[Row]:
    """How often a clip is nearer to its caption than to the same caption with the two sounds swapped.

    Test clips whose captions say an order; teacher and the student that distils it, whose embeddings share one space.
    """
    recipe, _ = recipes.load((place / "resolved.toml").as_posix())
    experiment = Experiment(recipe)
    table = recipe.sources["teacher"].model
    assert table is not None
    found: dict[str, list[float]] = {}
    for seed in recipe.seed_list:
        seeds = place / "seeds" / str(seed)
        teacher: Any = experiment.model(table, seed, "teacher", 0)
        load_weights(teacher, seeds / "teacher" / "model0" / "weights.safetensors")
        models = {"teacher": teacher}
        for arm in ("distilled", "without-labels"):
            if (seeds / arm / "weights.safetensors").exists():
                models[arm] = experiment.model(recipe.student, seed, "student-init")
                load_weights(models[arm], seeds / arm / "weights.safetensors")
        rows = experiment.split(seed).test_rows
        batch = experiment.view(seed, "test").batch(rows[experiment.dataset.samples["ordered"][rows]])
        with torch.no_grad():
            caption, negative = (teacher.eval().module.text(batch[name]) for name in ("caption", "negative"))
            for arm, model in models.items():
                heard = model.eval()(batch).outputs["audio"]
                nearer = (heard * (caption - negative)).sum(1) > 0
                found.setdefault(arm, []).append(100 * float(nearer.float().mean()))
    return [
        Row(
            f"embedded, {arm}: caption against its order-swapped negative",
            f"{np.mean(values):.1f}",
            "%",
            "50",
            "chance",
        )
        for arm, values in found.items()
    ]


def exported(place: Path) -> list[Row]:
    """The student of the embedded run as a bundle, one clip on one thread."""
    bundle = Student.load(export_run(place, seed=0, directory=place / "bundle").path, threads=1)
    clip = np.random.default_rng(0).integers(-3000, 3000, (1, *bundle.fields["audio"]["shape"])).astype(np.int16)
    times = []
    for _ in range(100):
        start = time.perf_counter()
        bundle(audio=clip)
        times.append(1e3 * (time.perf_counter() - start))
    worst = bundle.manifest["parity"]["outputs"]["logits"]["max_abs_difference"]
    return [
        Row("export: inputs", ", ".join(entry.name for entry in bundle.session.get_inputs()), "", "audio"),
        Row("export: largest difference from torch", f"{worst:.1e}", "", "<= 1e-4"),
        Row("export: size", bundle.manifest["sizes"]["model.onnx"] / 1000, "kB"),
        Row("export: latency of one clip", float(np.median(times[10:])), "ms"),
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
