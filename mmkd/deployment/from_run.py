"""Export a student of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmkd import recipes
from mmkd.binding import Bound
from mmkd.data.views import Batch
from mmkd.deployment.bundle import Bundle
from mmkd.deployment.export import export
from mmkd.errors import ConfigError, MmkdError, StorageError
from mmkd.estimators import Estimator
from mmkd.evaluation.arms import plans
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.saved import load_weights
from mmkd.files import read_json

_ROWS = 512


def export_run(run: Path, *, arm: str = "distilled", seed: int | None = None, directory: Path | None = None) -> Bundle:
    """Write the student of one arm and seed as a bundle.

    Arguments:
        run: run directory.
        arm: a student arm.
        seed: default: the seed with the best validation score (test scores choose nothing).
        directory: default `<run>/bundle`.

    Raises `ConfigError` where the run has no such arm or seed, and all that `export` raises.
    """
    if not (run / "resolved.toml").is_file():
        raise ConfigError(f"{run} is no run directory", "give the directory that `mmkd run` printed")
    recipe, _ = recipes.load((run / "resolved.toml").as_posix())
    plan = next((plan for plan in plans(recipe) if plan.name == arm and not plan.source), None)
    if plan is None:
        known = ", ".join(plan.name for plan in plans(recipe) if not plan.source)
        raise ConfigError(f"the run has no student arm '{arm}'", f"one of: {known}")
    task = Experiment(recipe).task()
    chosen = _best_seed(run, arm, recipe.seed_list, task.primary, task.higher_is_better) if seed is None else seed
    folder = run / "seeds" / str(chosen) / arm
    if not (folder / "job.json").is_file():
        raise ConfigError(
            f"{run} has no finished arm '{arm}' for seed {chosen}", "run it first, or name another with --seed"
        )
    if plan.choose:  # the arm that validation chose for this seed holds the weights
        trained = read_json(folder / "job.json")["chosen"]
        plan = next(plan for plan in plans(recipe) if plan.name == trained)
        folder = folder.with_name(trained)
    recipe = recipe.with_arm(plan.further) if plan.further else recipe
    experiment = Experiment(recipe)
    student = experiment.model(recipe.student, recipe.seed("student", chosen), "student-init")
    if isinstance(student, Estimator):
        student.load_state(read_json(folder / "estimator.json"))
    else:
        load_weights(student, folder / "weights.safetensors")
    split = experiment.split(chosen)
    rows = torch.cat([split.valid, split.train])[:_ROWS]
    view = experiment.view(chosen, "valid").only(rows)
    licence, shareable = _licence(recipe.dataset.use)
    return export(
        student,
        _whole_batch(student, view.batch(rows)),
        experiment.dataset.fields,
        task,
        directory or run / "bundle",
        recipe=recipe.name,
        data_licence=licence,
        examples=shareable,
        extra={"arm": arm, "seed": chosen},
    )


def _whole_batch(student: Bound | Estimator, batch: Batch) -> Batch:
    """A relational student is checked on all rows of its view, since it reads them all."""
    return batch.view.batch(torch.arange(len(batch.view.dataset))) if student.binding.relational else batch


def _best_seed(run: Path, arm: str, seeds: list[int], metric: str, higher_is_better: bool) -> int:
    scores: dict[int, float] = {}
    for seed in seeds:
        path = run / "seeds" / str(seed) / arm / "job.json"
        if path.is_file():
            job: Mapping[str, Any] = read_json(path)
            if "valid" in job:
                scores[seed] = job["valid"][metric] * (1 if higher_is_better else -1)
    if not scores:
        raise StorageError(
            f"no finished seed of arm '{arm}' with a validation score in {run}",
            "run the recipe to its end, or name --seed",
        )
    return max(scores, key=lambda seed: scores[seed])


def _licence(dataset: str) -> tuple[str, bool]:
    """Licence of the training data by its card, and whether example rows may travel with the bundle."""
    from mmkd.data.cards import card_of

    try:
        card = card_of(dataset)
    except MmkdError:
        return "", False  # without a card nothing is known of the licence, so no row is passed on
    return card.licence, card.commercial_use
