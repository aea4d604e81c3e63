"""Arms: what each one is given, and what is taken away from the controls.

Every arm is a change of one `Plan`; the job that trains it knows nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmkd.estimators import Estimator
from mmkd.recipes import Recipe

EXPLANATIONS = {
    "alone": "labels alone, with the student's budget",
    "distilled": "labels and sources, as the recipe says",
    "hard-teacher": "the teacher's argmax alone",
    "shuffled-teacher": "the teacher's signals, permuted among samples that the teacher decides alike",
    "permuted-teacher": "the teacher's signals, permuted among all samples",
    "labelled-only": "distilled on the labelled samples alone",
    "self-training": "the signals of `alone`, on the same samples",
    "label-smoothing": "alone, with smoothed labels",
    "restricted-teacher": "a teacher of the same kind that reads the student's fields alone",
    "oracle-labels": "alone, with every label that the teacher saw",
}
SMOOTHING = 0.1


@dataclass(frozen=True)
class Plan:
    """One arm.

    Arguments:
        name: as in the report.
        source: the source that the arm is, for teacher arms; empty for students.
        further: the recipe's `[arms.NAME]` whose tables apply; empty for the recipe itself.
        distil: whether methods and sources take part.
        labels: `student`, or `all`: labels that the teacher saw and the student does not.
        labelled_only: training rows are the labelled ones alone.
        control: what is done to the sources: `hard`, `shuffled`, `permuted`, `self`, `restricted`, or nothing.
        smoothing: label smoothing of the task.
        waits: arms that must be done first.
        baseline: the arm that it is compared with.
        choose: arms among which validation decides; then nothing is trained.
    """

    name: str
    source: str = ""
    further: str = ""
    distil: bool = True
    labels: str = "student"
    labelled_only: bool = False
    control: str = ""
    smoothing: float = 0.0
    waits: tuple[str, ...] = ()
    baseline: str = "alone"
    choose: tuple[str, ...] = ()

    @property
    def is_control(self) -> bool:
        return self.name in EXPLANATIONS and self.name not in ("alone", "distilled")


def plans(recipe: Recipe) -> list[Plan]:
    """Every arm of a recipe, each after those that it waits for."""
    sources = tuple(recipe.sources)
    arms = [Plan(name, source=name) for name in sources]
    arms.append(Plan("alone", distil=False, labelled_only=True))
    distilled = Plan("distilled", waits=sources)
    if _transfers(recipe):
        arms.append(distilled)
    changes: dict[str, Plan] = {
        "hard-teacher": replace(distilled, control="hard"),
        "shuffled-teacher": replace(distilled, control="shuffled"),
        "permuted-teacher": replace(distilled, control="permuted"),
        "labelled-only": replace(distilled, labelled_only=True),
        "self-training": replace(distilled, control="self", waits=("alone",)),
        "label-smoothing": Plan("", distil=False, labelled_only=True, smoothing=SMOOTHING),
        "restricted-teacher": replace(distilled, control="restricted", waits=()),
    }
    arms += [replace(changes[control], name=control) for control in recipe.evaluation.controls]
    if any(source.labels == "all" for source in recipe.sources.values()):
        arms.append(Plan("oracle-labels", distil=False, labelled_only=True, labels="all"))
    for name, arm in recipe.arms.items():
        if arm.choose:
            arms.append(Plan(name, waits=tuple(arm.choose), choose=tuple(arm.choose), baseline=arm.baseline))
            continue
        waits = sources if arm.distil else ()
        further = Plan(name, further=name, distil=arm.distil, labelled_only=not arm.distil, waits=waits)
        arms.append(replace(further, baseline=arm.baseline))
    return arms


def _transfers(recipe: Recipe) -> bool:
    """Whether the student learns from more than labels: by a method, its scheme's own losses, or an estimator's fit."""
    if recipe.methods or recipe.scheme.use != "offline":
        return True
    component = recipe.student.factory("models", "student").component
    return bool(recipe.sources) and isinstance(component, type) and issubclass(component, Estimator)
