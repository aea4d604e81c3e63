"""Results as `mmkd.evaluation.result.assemble` builds them: made-up scores, real statistics."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmkd import calibration
from mmkd.evaluation import statistics, verdicts

LEVELS = {
    "teacher": 0.926,
    "alone": 0.856,
    "distilled": 0.924,
    "hard-teacher": 0.921,
    "shuffled-teacher": 0.922,
    "permuted-teacher": 0.60,
    "labelled-only": 0.858,
    "self-training": 0.87,
    "label-smoothing": 0.859,
}
THREE = ("teacher", "alone", "distilled")
CONTROLS = tuple(LEVELS)[3:]
EXPLANATIONS = {
    "alone": "labels alone, with the student's budget",
    "distilled": "labels and sources, as the recipe says",
    "hard-teacher": "the teacher's argmax alone",
    "shuffled-teacher": "the teacher's signals, permuted among samples with the same teacher argmax",
    "permuted-teacher": "the teacher's signals, permuted among all samples",
    "labelled-only": "distilled on the labelled samples alone",
    "self-training": "the signals of `alone`, on the same samples",
    "label-smoothing": "alone, with smoothed labels",
}


def make(
    arms: Mapping[str, float] | Sequence[str] = tuple(LEVELS),
    seeds: int = 5,
    *,
    units: int = 300,
    margin: float | None = 0.01,
    sealed: bool = False,
    budget: Any = "matched",
    extended: bool = False,
    folds: bool = False,
    parts: Sequence[str] = (),
    sources: Sequence[str] = ("teacher",),
    estimators: Sequence[str] = (),
) -> dict[str, Any]:
    """A result of a classification whose arms are right on about the given shares of samples.

    Arguments:
        arms: with their levels, or names in `LEVELS`.
        seeds, units, margin, budget, extended, folds: as the comparisons see them.
        sealed: validation data alone.
        parts: names of the parts of the test rows.
        sources: arms that are sources.
        estimators: arms without parameters, steps, curves and probabilities.
    """
    levels = dict(arms) if isinstance(arms, Mapping) else {name: LEVELS[name] for name in arms}
    draw = np.random.default_rng(7)
    labels, hardness = draw.integers(4, size=units), draw.random(units)  # hardness of a sample is the same for all arms
    scores, logits = {}, {}
    for name, level in levels.items():
        noise = 0.08 * draw.standard_normal((seeds, units)) + 0.006 * draw.standard_normal((seeds, 1))
        answers = np.where(hardness + noise < level, labels, (labels + 1) % 4)
        logits[name] = 3.0 * np.eye(4)[answers] + draw.standard_normal((seeds, units, 4))
        scores[name] = (logits[name].argmax(2) == labels).astype(float)

    def compare(candidate: str, baseline: str) -> verdicts.Comparison:
        return verdicts.compare(
            candidate,
            baseline,
            candidate_scores=scores[candidate],
            baseline_scores=scores[baseline],
            metric="accuracy",
            margin=margin,
            single_graph=True,
            budget=budget,
            extended=extended,
            folds=folds,
            resamples=400,
        )

    made = {}
    for name in levels:
        arm = made[name] = _arm(name, scores[name].mean(1), name in sources, name in estimators, parts)
        if name not in estimators:
            arm |= _probabilities(logits[name], labels)
            if sources and name != sources[0]:
                arm["fidelity"] = _fidelity(logits[name], logits[sources[0]], labels)
    if {"distilled", *sources} <= set(levels) and sources:
        made["restricted-teacher"] = {
            "explanation": "a teacher of the same kind that reads the student's fields alone",
            "kind": "student",
            "control": True,
            "status": "not applicable",
            "reason": "source 'teacher' cannot run without edge_index, which the student does not read",
        }
    students = [name for name in levels if name not in sources]
    comparisons = verdicts.adjust([compare(name, "alone") for name in students if name != "alone"])
    controls = [name for name in students if name in CONTROLS[:-1] and "distilled" in levels]
    said = [comparison.reason for comparison in comparisons if comparison.candidate not in CONTROLS]
    if controls:
        said.append("The gain survives `hard-teacher`: the teacher's decisions alone give it (hard-teacher +6.4).")
    return {
        "format": 1,
        "recipe": "graph/glnn",
        "dataset": {
            "name": "graph/digits-knn",
            "unit": "sample",
            "rows": 1797,
            "setting": "transductive",
            "content": "5f" * 32,
        },
        "metric": {"name": "accuracy", "higher_is_better": True},
        "seeds": list(range(seeds)),
        "vary": ["split", "teacher", "student"],
        "evaluated": "valid" if sealed else "test",
        "unsealings": 0 if sealed else 3,
        "budget": budget,
        "arms": made,
        "comparisons": [comparison.to_json() for comparison in comparisons],
        "attribution": [c.to_json() for c in verdicts.adjust([compare("distilled", name) for name in controls])],
        "gap_recovered": _gap(scores, sources),
        "environment": {
            "command": "mmkd run graph/glnn",
            "versions": {"mmkd": "0.1.0", "torch": "2.11.0", "python": "3.11.9"},
            "platform": "Linux",
            "device": "cpu",
            "threads": 2,
            "cores": 2,
            "jobs": 1,
            "git": None,
        },
        "statements": said,
        "warnings": ["The inputs (not the labels) of 1200 test samples were seen in training: transductive setting."],
    }


def _arm(name: str, per_seed: np.ndarray, source: bool, estimator: bool, parts: Sequence[str]) -> dict[str, Any]:
    whole, seeds, labels_alone = summary(per_seed), len(per_seed), name in ("alone", "labelled-only", "label-smoothing")
    cost: dict[str, Any] = {"training_seconds": 1.5 + len(name) / 10, "steps": [0] * seeds}
    history: list[Any] = [[] for _ in per_seed]
    if not estimator:
        size = 26_122 if source else 9_610
        cost |= {"parameters": size, "bytes": 4 * size, "training_flops": 7 * 10**10}
        cost["steps"] = [2000 - 100 * seed for seed in range(seeds)]
        rise = [(step, 1 - np.exp(-step / 300)) for step in range(100, 2001, 100)]
        history = [[[s, float(r * level)] for s, r in rise[: 20 - k]] for k, level in enumerate(per_seed)]
        if name in ("alone", "distilled"):
            cost["latency_ms"] = {"1": 0.043 + len(name) / 1e4, "100": 0.08}
    arm: dict[str, Any] = {
        "explanation": "the source" if source else EXPLANATIONS.get(name, f"the recipe's [arms.{name}]"),
        "kind": "source" if source else "student",
        "control": name in CONTROLS,
        "status": "done",
        **whole,
        "metrics": {"accuracy": whole, "nll": summary(2 - per_seed)},
        "valid": summary((per_seed + 0.01).clip(0, 1)),
        "inputs": {
            "labelled": 50,
            "unlabelled": 0 if labels_alone else 1447,
            "test_inputs": 0 if labels_alone else 1200,
            "fields": ["x", "edge_index"] if source else ["x"],
        },
        "cost": cost,
        "history": history,
        "notes": [],
    }
    if parts:
        arm["parts"] = {part: summary(per_seed - 0.01 * place) for place, part in enumerate(parts)}
    return arm


def _probabilities(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    raw = [calibration.probabilities(run) for run in logits]
    bins = calibration.reliability_curve(np.concatenate(raw), np.tile(labels, len(raw)))
    values = {key: getattr(bins, key) for key in ("edges", "confidence", "accuracy", "count")}
    return {
        "calibration": {
            "ece": calibration.expected_calibration_error(raw[0], labels),
            "nll": calibration.negative_log_likelihood(raw[0], labels),
            "temperature": 1.2,
            "ece_scaled": 0.021,
            "nll_scaled": 0.31,
        },
        "reliability": {key: [None if np.isnan(v) else float(v) for v in value] for key, value in values.items()},
    }


def _fidelity(student: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    near = calibration.agreement(student[0], teacher[0], labels)
    far = calibration.kl_to_teacher(student[0], teacher[0], labels)
    return {
        "agreement": near.overall,
        "agreement_teacher_wrong": near.teacher_wrong,
        "kl": far.overall,
        "kl_teacher_wrong": far.teacher_wrong,
    }


def _gap(scores: Mapping[str, np.ndarray], sources: Sequence[str]) -> dict[str, Any] | None:
    if not sources or not {"alone", "distilled", sources[0]} <= set(scores):
        return None
    ratio = statistics.gap_recovered(*(scores[name].mean(1) for name in ("distilled", "alone", sources[0])))
    interval = None if ratio.interval is None else [ratio.interval.low, ratio.interval.high]
    return {"value": None if np.isnan(ratio.value) else ratio.value, "interval": interval, "reason": ratio.reason}


def summary(values: np.ndarray) -> dict[str, Any]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "per_seed": [float(value) for value in values]}


def lower_is_better() -> dict[str, Any]:
    """A regression: errors in place of accuracies, and no class probabilities."""
    draw = np.random.default_rng(3)
    result = make(THREE)
    bases = dict(zip(THREE, (3.1, 4.2, 3.4), strict=True))
    errors = {name: base + 0.1 * draw.standard_normal((5, 30)) for name, base in bases.items()}
    result["metric"] = {"name": "mae", "higher_is_better": False}
    for name, values in errors.items():
        arm, own = result["arms"][name], summary(values.mean(1))
        arm |= {**own, "metrics": {"mae": own}, "valid": own}
        arm["history"] = [[[100, 5.0], [200, 4.0 + 0.1 * seed]] for seed in range(5)]
        for key in ("calibration", "reliability", "fidelity"):
            arm.pop(key, None)
    compared = verdicts.adjust(
        [
            verdicts.compare(
                "distilled",
                "alone",
                candidate_scores=errors["distilled"],
                baseline_scores=errors["alone"],
                metric="mae",
                higher_is_better=False,
                unit="subject",
            )
        ]
    )
    result["dataset"]["unit"] = "subject"
    result["comparisons"], result["gap_recovered"] = [c.to_json() for c in compared], None
    result["statements"] = [c.reason for c in compared]
    return result


def unbounded() -> dict[str, Any]:
    """An interval over units that has no ends, and a gap that cannot be recovered."""
    result = make(THREE)
    for estimate in (result["comparisons"][0]["units"], result["comparisons"][0]["joint"]):
        estimate["interval"] |= {"low": None, "high": None}
    result["gap_recovered"] = {"value": None, "interval": None, "reason": "the teacher does not score above alone"}
    return result


def renamed(result: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The result with an arm of another name."""
    result = copy.deepcopy(result)
    result["arms"] = {new if name == old else name: arm for name, arm in result["arms"].items()}
    for comparison in result["comparisons"] + result["attribution"]:
        for side in ("candidate", "baseline"):
            comparison[side] = new if comparison[side] == old else comparison[side]
        comparison["reason"] = comparison["reason"].replace(old, new)
    result["statements"] = [said.replace(old, new) for said in result["statements"]]
    return result


ODD_NAME = "_mit $umlaut_ä$ [red] & <b> 蒸留 with a rather long name"
ODD_CASES = {
    "only alone": lambda: make({"alone": 0.85}, sources=()),
    "no distilled arm": lambda: make(("teacher", "alone")),
    "sealed": lambda: make(THREE, sealed=True),
    "one seed": lambda: make((*THREE, "hard-teacher"), 1),
    "three seeds": lambda: make(THREE, 3),
    "few units": lambda: make(THREE, units=5),
    "no difference": lambda: make({"teacher": 0.9, "alone": 0.85, "distilled": 0.85}, margin=0.2),
    "estimators": lambda: make(
        {"teacher": 0.92, "alone": 0.85, "distilled": 0.92, "tree": 0.88}, estimators=("alone", "distilled", "tree")
    ),
    "two sources": lambda: make({"t1": 0.93, "t2": 0.90, "alone": 0.85, "distilled": 0.92}, sources=("t1", "t2")),
    "no students but alone and a control": lambda: make(("alone", "label-smoothing"), sources=()),
    "parts": lambda: make(parts=("tran", "ind")),
    "published and extended": lambda: make(THREE, 6, budget="published", extended=True),
    "folds": lambda: make(THREE, folds=True, margin=None),
    "lower is better": lower_is_better,
    "unbounded": unbounded,
    "odd names": lambda: renamed(make((*THREE, "permuted-teacher")), "distilled", ODD_NAME),
}
"""Every odd result that reporting has to get through."""
