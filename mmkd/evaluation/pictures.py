"""The pictures of a run: drawn by the task from the records of the first seed, and kept beside the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmkd.data.views import Batch, View
from mmkd.estimators import Estimator
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.result import Evidence
from mmkd.files import read_json, storage_errors, write_atomic
from mmkd.pictures import Picture

FOLDER = "pictures"


def draw(evidence: Evidence, root: Path) -> list[dict[str, str]]:
    """Let the task draw, and write what it has drawn into `<root>/pictures`.

    Sources and students that are no controls are shown, on the rows that were evaluated under the first seed. Students
    that are fitted, such as trees, draw themselves too.

    Returns:
        Name of the file, caption and alt text of each picture, in order; what keeps a task from drawing is said in the
        place of a picture, for a run is not lost over it.
    """
    seed, experiment = evidence.seeds[0], evidence.experiment
    shown = [plan.name for plan in evidence.plans if plan.name in evidence.done and not plan.is_control]

    def read(rows: np.ndarray) -> Batch:
        index = torch.from_numpy(np.asarray(rows, np.int64)).to(experiment.device)
        return View(experiment.dataset, index, index, inputs=experiment.split(seed).inputs).batch(index)

    try:
        records = {name: evidence.records(name, seed) for name in shown}
        pictures = [*evidence.task.pictures(records, read), *_learnt(evidence, seed, shown)]
    except Exception as error:  # a plugin's own code, at the end of a long run
        return [{"file": "", "caption": f"No pictures: {type(error).__name__}: {error}", "alt": ""}]
    with storage_errors(root):
        (root / FOLDER).mkdir(exist_ok=True) if pictures else None
    for picture in pictures:
        write_atomic(root / FOLDER / picture.file, picture.content)
    return [
        {"file": f"{FOLDER}/{picture.file}", "caption": picture.caption, "alt": picture.alt} for picture in pictures
    ]


def _learnt(evidence: Evidence, seed: int, shown: Sequence[str]) -> list[Picture]:
    """What the fitted students among the arms learnt."""
    recipe = evidence.experiment.recipe
    found: list[Picture] = []
    for plan in evidence.plans:
        state = evidence.root / str(seed) / plan.name / "estimator.json"
        if plan.name not in shown or not state.is_file():
            continue
        experiment = Experiment(recipe.with_arm(plan.further)) if plan.further else evidence.experiment
        student = experiment.model(experiment.recipe.student, recipe.seed("student", seed), "student-init")
        assert isinstance(student, Estimator)
        student.load_state(read_json(state))
        found += student.pictures(plan.name, evidence.task.field.classes)
    return found
