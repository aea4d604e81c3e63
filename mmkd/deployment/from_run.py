"""Export a student of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch

from mmkd.binding import Bound
from mmkd.data.views import Batch
from mmkd.deployment.bundle import Bundle
from mmkd.deployment.export import export
from mmkd.errors import ConfigError, MmkdError
from mmkd.estimators import Estimator
from mmkd.evaluation.arms import plans
from mmkd.evaluation.finished import Run

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
    finished = Run(run)
    students = [plan.name for plan in plans(finished.recipe) if not plan.source]
    if arm not in students:
        raise ConfigError(f"the run has no student arm '{arm}'", f"one of: {', '.join(students)}")
    chosen = finished.best_seed(arm) if seed is None else seed
    student, (_, _, experiment) = finished.model(arm, chosen), finished.trained(arm, chosen)
    recipe, task = experiment.recipe, finished.experiment.task()
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


def _licence(dataset: str) -> tuple[str, bool]:
    """Licence of the training data by its card, and whether example rows may travel with the bundle."""
    from mmkd.data.cards import card_of

    try:
        card = card_of(dataset)
    except MmkdError:
        return "", False  # without a card nothing is known of the licence, so no row is passed on
    return card.licence, card.commercial_use
