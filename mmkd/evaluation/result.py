"""From finished jobs to the proof: means, verdicts, fidelity, calibration, and sentences that say what was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmkd import calibration
from mmkd.evaluation import statistics, verdicts
from mmkd.evaluation.arms import EXPLANATIONS, Plan
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.saved import load_records
from mmkd.evaluation.verdicts import Comparison
from mmkd.tasks.base import Records, Task

Jobs = Mapping[tuple[str, int], Mapping[str, Any]]
# The arms that tell where a gain comes from; each is compared with `distilled`.
ATTRIBUTION = (
    "hard-teacher",
    "shuffled-teacher",
    "permuted-teacher",
    "labelled-only",
    "self-training",
    "restricted-teacher",
)


class Evidence:
    """Everything that finished jobs left on disk, arm by arm.

    Arguments:
        experiment: the recipe made real.
        plans: its arms.
        jobs: job results by (arm, seed).
        root: the run's `seeds` folder.
        sealed: no test data was evaluated.
    """

    def __init__(self, experiment: Experiment, plans: Sequence[Plan], jobs: Jobs, root: Path, *, sealed: bool) -> None:
        self.experiment, self.jobs, self.root, self.sealed = experiment, jobs, root, sealed
        self.task: Task = experiment.task()
        self.seeds = experiment.recipe.seed_list
        self.plans = list(plans)
        self.done = [p.name for p in plans if all(jobs[p.name, seed]["status"] == "done" for seed in self.seeds)]
        self.part = "valid" if sealed else "test"
        self._records: dict[tuple[str, int, str], Records] = {}

    def records(self, arm: str, seed: int, part: str | None = None) -> Records:
        wanted = (arm, seed, part or self.part)
        if wanted not in self._records:
            self._records[wanted] = load_records(self.root / str(seed) / arm / f"{wanted[2]}.npz")
        return self._records[wanted]

    def per_seed(self, arm: str, metric: str | None = None) -> list[float]:
        """The metric (default: the primary one) of an arm, one value per seed."""
        return [self.jobs[arm, seed][self.part][metric or self.task.primary] for seed in self.seeds]

    def row_scores(self, arm: str) -> np.ndarray | None:
        """`[S, rows of the data set]` scores, NaN where not tested; None where the metric does not decompose."""
        matrix = np.full((len(self.seeds), len(self.units)), np.nan)
        for row, seed in enumerate(self.seeds):
            records = self.records(arm, seed)
            index = records["index"]
            scores = self.task.unit_scores(records)
            if scores is None and self.experiment.dataset.groups is not None:
                of_groups = self.task.group_scores(records, self.units[index])
                # Each sample gets its group's score, so that the mean over a group's samples is that score.
                scores = None if of_groups is None else of_groups[np.unique(self.units[index], return_inverse=True)[1]]
            if scores is None:
                return None
            matrix[row, index] = scores
        return matrix

    @cached_property
    def units(self) -> np.ndarray:
        """The independent unit of each row of the data set."""
        groups = self.experiment.dataset.groups
        return np.arange(len(self.experiment.dataset)) if groups is None else groups.cpu().numpy()

    def unit_scores(self, arm: str) -> np.ndarray | None:
        """`[S, U]` scores of independent units, NaN where not tested; None where the metric does not decompose."""
        matrix = self.row_scores(arm)
        if matrix is None:
            return None
        tested = ~np.isnan(matrix).all(0)
        return statistics.average_by_unit(matrix[:, tested], self.units[tested])

    def compare(self, candidate: str, baseline: str, *, extended: bool) -> Comparison:
        """Both uncertainties of one difference on the primary metric."""
        recipe, dataset, task = self.experiment.recipe, self.experiment.dataset, self.task
        split = self.experiment.split(self.seeds[0])
        common: dict[str, Any] = {
            "metric": task.primary,
            "higher_is_better": task.higher_is_better,
            "unit": dataset.unit,
            "margin": recipe.evaluation.margin,
            "folds": split.folds,
            "single_graph": dataset.single_graph,
            "budget": recipe.evaluation.budget,
            "extended": extended,
        }
        mine, theirs = self.unit_scores(candidate), self.unit_scores(baseline)
        if mine is not None and theirs is not None:
            return verdicts.compare(candidate, baseline, candidate_scores=mine, baseline_scores=theirs, **common)
        pairs = [(self.records(candidate, seed), self.records(baseline, seed)) for seed in self.seeds]
        return verdicts.compare(
            candidate,
            baseline,
            candidate_scores=self.per_seed(candidate),
            baseline_scores=self.per_seed(baseline),
            units=None if split.folds else self.resampled(pairs),
            **common,
        )

    def resampled(self, pairs: Sequence[tuple[Records, Records]]) -> statistics.Estimate:
        """Bootstrap over units of a metric that has to be computed anew on each resample; one pair of records per seed,
        both of the same rows in the same order."""
        ids = np.unique(np.concatenate([mine["index"] for mine, _ in pairs]))
        names = self.units[ids]
        places = np.full((len(pairs), len(self.units)), -1)
        for place, (mine, _) in zip(places, pairs, strict=True):
            place[mine["index"]] = np.arange(len(mine["index"]))

        def difference(rows: np.ndarray) -> list[float]:
            values = []
            for (mine, theirs), place in zip(pairs, places, strict=True):
                take = place[rows]
                take = take[take >= 0]
                values.append(self._metric(mine, take) - self._metric(theirs, take) if len(take) else np.nan)
            return values

        return statistics.paired_bootstrap_metric(difference, [ids[names == name] for name in np.unique(names)])

    def score(self, records: Records) -> float:
        """The primary metric of records."""
        groups = self.experiment.dataset.groups
        return self.task.score(records, None if groups is None else self.units[records["index"]])

    def _metric(self, records: Records, take: np.ndarray) -> float:
        part = {name: value[take] for name, value in records.items()}
        grouped = self.experiment.dataset.groups is not None
        of_rows = _drawn(self.units[part["index"]], part["index"]) if grouped else None
        return self.task.score(part, of_rows)


def _drawn(groups: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Group ids of a resample: a group drawn twice counts as two, else a metric per group would see it once."""
    order = np.argsort(rows, kind="stable")
    _, first, inverse = np.unique(rows[order], return_index=True, return_inverse=True)
    again = np.empty(len(rows), dtype=np.int64)
    again[order] = np.arange(len(rows)) - first[inverse]  # how often the row stood before
    _, group = np.unique(groups, return_inverse=True)
    return group * (again.max(initial=0) + 1) + again


def assemble(evidence: Evidence, *, extended: bool, environment: Mapping[str, Any], unsealings: int) -> dict[str, Any]:
    """The content of `result.json`."""
    recipe, task = evidence.experiment.recipe, evidence.task
    students = [p.name for p in evidence.plans if not p.source and p.name in evidence.done]
    pairs = [(p.name, p.baseline) for p in evidence.plans if p.name in students and p.name != "alone"]
    comparisons = verdicts.adjust([evidence.compare(*pair, extended=extended) for pair in pairs if pair[1] in students])
    attribution = []
    if "distilled" in students:
        controls = [arm for arm in ATTRIBUTION if arm in students]
        attribution = verdicts.adjust([evidence.compare("distilled", arm, extended=extended) for arm in controls])
    result: dict[str, Any] = {
        "format": 1,
        "recipe": recipe.name,
        "dataset": {
            "name": recipe.dataset.use,
            "unit": evidence.experiment.dataset.unit,
            "rows": len(evidence.experiment.dataset),
            "setting": evidence.experiment.split(evidence.seeds[0]).setting,
            "content": evidence.experiment.data_hash,
        },
        "metric": {"name": task.primary, "higher_is_better": task.higher_is_better},
        "seeds": evidence.seeds,
        "vary": list(recipe.vary),
        "evaluated": evidence.part,
        "unsealings": unsealings,
        "budget": recipe.evaluation.budget,
        "extended": extended,
        "arms": {plan.name: _arm(evidence, plan) for plan in evidence.plans},
        "comparisons": [comparison.to_json() for comparison in comparisons],
        "attribution": [comparison.to_json() for comparison in attribution],
        "gap_recovered": _gap(evidence),
        "environment": dict(environment),
    }
    result["statements"] = statements(comparisons, attribution)
    result["warnings"] = _warnings(evidence, result)
    return result


def _arm(evidence: Evidence, plan: Plan) -> dict[str, Any]:
    jobs = [evidence.jobs[plan.name, seed] for seed in evidence.seeds]
    explanation = "the source" if plan.source else EXPLANATIONS.get(plan.name, f"the recipe's [arms.{plan.name}]")
    arm: dict[str, Any] = {
        "explanation": explanation,
        "kind": "source" if plan.source else "student",
        "control": plan.is_control,
    }
    if plan.name not in evidence.done:
        reasons = [job["reason"] for job in jobs if job["status"] != "done"]
        return {**arm, "status": "not applicable", "reason": reasons[0]}
    per_seed = evidence.per_seed(plan.name)
    arm |= {"status": "done", "per_seed": per_seed, "mean": float(np.mean(per_seed)), "sd": _sd(per_seed)}
    arm["metrics"] = {name: _summary(evidence.per_seed(plan.name, name)) for name in jobs[0][evidence.part]}
    if "valid" in jobs[0]:
        arm["valid"] = _summary([job["valid"][evidence.task.primary] for job in jobs])
    if "parts" in jobs[0] and not evidence.sealed:
        arm["parts"] = {
            part: _summary([job["parts"][part][evidence.task.primary] for job in jobs]) for part in jobs[0]["parts"]
        }
    arm["inputs"] = jobs[0]["inputs"]
    arm["cost"] = {
        **jobs[0]["cost"],
        "training_seconds": float(np.mean([job["cost"]["training_seconds"] for job in jobs])),
        "steps": [sum(job["cost"]["steps"]) for job in jobs],
    }
    arm["history"] = [job["fitted"][0]["history"] if job["fitted"] else [] for job in jobs]
    arm["notes"] = sorted({note for job in jobs for note in job.get("notes", [])})
    arm |= _class_probabilities(evidence, plan)
    return arm


def _class_probabilities(evidence: Evidence, plan: Plan) -> dict[str, Any]:
    """Calibration and fidelity, where records hold one row of class logits per sample."""
    output = evidence.task.class_output
    first = evidence.records(plan.name, evidence.seeds[0])
    if output is None or not {output, evidence.task.target} <= set(first) or first[output].ndim != 2:
        return {}
    rows, curve = [], []
    teacher = next((p.name for p in evidence.plans if p.source and p.name in evidence.done), None)
    near: list[tuple[Any, Any]] = []
    for seed in evidence.seeds:
        records = evidence.records(plan.name, seed)
        logits, labels = records[output].astype(np.float64), records[evidence.task.target]
        raw = calibration.probabilities(logits)
        row = {
            "ece": calibration.expected_calibration_error(raw, labels),
            "nll": calibration.negative_log_likelihood(raw, labels),
        }
        if "valid" in evidence.jobs[plan.name, seed]:
            held_out = evidence.records(plan.name, seed, "valid")
            heat = calibration.fit_temperature(held_out[output].astype(np.float64), held_out[evidence.task.target])
            scaled = calibration.probabilities(logits, heat)
            row |= {
                "temperature": heat,
                "ece_scaled": calibration.expected_calibration_error(scaled, labels),
                "nll_scaled": calibration.negative_log_likelihood(scaled, labels),
            }
        rows.append(row)
        curve.append((raw, labels))
        if teacher and teacher != plan.name:
            said = evidence.records(teacher, seed)[output].astype(np.float64)
            near.append((calibration.agreement(logits, said, labels), calibration.kl_to_teacher(logits, said, labels)))
    bins = calibration.reliability_curve(np.concatenate([p for p, _ in curve]), np.concatenate([y for _, y in curve]))
    found: dict[str, Any] = {
        "calibration": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
        "reliability": {
            name: [None if np.isnan(v) else float(v) for v in value] for name, value in asdict(bins).items()
        },
    }
    if near:
        found["fidelity"] = {
            "agreement": _mean(a.overall for a, _ in near),
            "agreement_teacher_wrong": _mean(a.teacher_wrong for a, _ in near),
            "kl": _mean(k.overall for _, k in near),
            "kl_teacher_wrong": _mean(k.teacher_wrong for _, k in near),
        }
    return found


def _gap(evidence: Evidence) -> dict[str, Any] | None:
    teacher = next((p.name for p in evidence.plans if p.source and p.name in evidence.done), None)
    if teacher is None or not {"alone", "distilled"} <= set(evidence.done):
        return None
    ratio = statistics.gap_recovered(
        *(evidence.per_seed(arm) for arm in ("distilled", "alone", teacher)),
        higher_is_better=evidence.task.higher_is_better,
    )
    interval = None if ratio.interval is None else [ratio.interval.low, ratio.interval.high]
    return {"value": None if np.isnan(ratio.value) else ratio.value, "interval": interval, "reason": ratio.reason}


def statements(comparisons: Sequence[Comparison], attribution: Sequence[Comparison]) -> list[str]:
    """What was shown, in words; nothing is claimed that a verdict does not carry."""
    alone = {c.candidate: c for c in comparisons if c.baseline == "alone"}
    than = {c.baseline: c for c in attribution}
    said = [c.reason for c in comparisons if c.candidate == "distilled" or c.candidate not in EXPLANATIONS]
    gained = alone["distilled"].verdict == "better" if "distilled" in alone else False
    if not gained:
        if "distilled" in alone:
            said.append("Since no gain over `alone` is shown, the controls have nothing to explain.")
        return said
    for control, (if_better, if_survives, otherwise) in _READINGS.items():
        if control not in than:
            continue
        survives = control in alone and alone[control].verdict == "better"
        better = than[control].verdict == "better"
        change = f" ({_difference(alone[control])} against alone)" if control in alone else ""
        said.append((if_better if better else if_survives if survives else otherwise) + change + ".")
    if "labelled-only" in than and "labelled-only" in alone:
        vanished = than["labelled-only"].verdict == "better" and alone["labelled-only"].verdict != "better"
        said.append(
            (
                "The gain vanishes with soft labels on the labelled samples only: "
                "it comes from the teacher's answers on unlabelled samples"
                if vanished
                else "The gain does not vanish with soft labels on the labelled samples only"
            )
            + f" ({_difference(alone['labelled-only'])} against alone)."
        )
    return said


# control: (distilled is better than it, it is itself better than alone, neither)
_READINGS = {
    "hard-teacher": (
        "Soft outputs carry more than the teacher's decisions: distilled is better than hard-teacher",
        "The gain survives `hard-teacher`: the teacher's class decisions alone give it, which is pseudo-labelling",
        "Whether soft outputs carry more than the teacher's decisions is open",
    ),
    "shuffled-teacher": (
        "Sample-level knowledge: distilled is better than shuffled-teacher",
        "No sample-level knowledge is shown: the gain survives `shuffled-teacher`, "
        "so what the teacher knows of a class is enough",
        "Whether the student gained sample-level knowledge is open",
    ),
    "permuted-teacher": (
        "The teacher's answers matter: distilled is better than permuted-teacher",
        "Even permuted answers help: the gain may be regularisation and not knowledge",
        "Whether the teacher's answers matter is open",
    ),
    "self-training": (
        "The teacher knows more than the student's own predictions: distilled is better than self-training",
        "Self-training gains too, and distilled is not shown to be better than it",
        "Whether the teacher beats self-training is open",
    ),
    "restricted-teacher": (
        "Privileged-sensor knowledge: distilled is better than restricted-teacher",
        "No privileged-sensor knowledge is shown: a teacher that reads the student's fields alone helps as well",
        "Whether the teacher's extra fields matter is open",
    ),
}


def _warnings(evidence: Evidence, result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the table."""
    warnings = []
    sign = 1 if evidence.task.higher_is_better else -1
    alone = result["arms"].get("alone", {})
    for plan in evidence.plans:
        arm = result["arms"][plan.name]
        if plan.source and arm["status"] == "done":
            if sign * arm["mean"] <= sign * alone.get("mean", -sign * np.inf):
                warnings.append(
                    f"The teacher '{plan.name}' is not stronger than `alone`; "
                    "weak teachers can help or ruin: read the controls."
                )
            extra = arm["inputs"]["labelled"] - alone["inputs"]["labelled"]
            if extra > 0:
                warnings.append(
                    f"The teacher '{plan.name}' saw {extra} labels that the student did not; "
                    "compare with oracle-labels."
                )
    distilled = result["arms"].get("distilled", {})
    if distilled.get("inputs", {}).get("test_inputs"):
        warnings.append(
            f"The inputs (not the labels) of {distilled['inputs']['test_inputs']} test samples were seen in training: "
            f"the setting is {result['dataset']['setting']}."
        )
    if evidence.sealed:
        warnings.append(
            "Sealed: every figure is of validation data, which also chose the weights; no test data was evaluated."
        )
    if result["budget"] == "published":
        warnings.append("The budget is the paper's own and not matched between arms.")
    return warnings


def _difference(comparison: Comparison) -> str:
    return f"{comparison.candidate} {comparison.difference:+.3f} {comparison.metric}"


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "sd": _sd(values), "per_seed": [float(value) for value in values]}


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
