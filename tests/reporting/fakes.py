"""Results as `mmkd.evaluation.result.assemble` builds them, with made-up scores and real statistics."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mmkd.evaluation import calibration, statistics, verdicts

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
EXPLANATIONS = {
    "alone": "labels alone, with the student's budget",
    "distilled": "labels and sources, as the recipe says",
    "hard-teacher": "the teacher's argmax alone",
    "shuffled-teacher": "the teacher's signals, permuted among samples with the same teacher argmax",
}
CONTROLS = tuple(list(LEVELS)[3:])


def summary(values: list[float]) -> dict[str, Any]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "per_seed": [float(v) for v in values]}


def make(
    seeds: int = 5,
    levels: dict[str, float] | None = None,
    *,
    units: int = 400,
    margin: float | None = 0.01,
    sealed: bool = False,
    budget: Any = "matched",
    extended: bool = False,
    parts: tuple[str, ...] = (),
    sources: tuple[str, ...] = ("teacher",),
    estimators: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A result of a classification whose arms are right on the given share of samples."""
    levels = dict(LEVELS if levels is None else levels)
    draw = np.random.default_rng(7)
    hard = draw.random(units)  # how hard a unit is: shared by all arms, as on a real test set
    scores, logits, labels = {}, {}, draw.integers(4, size=units)
    for name, level in levels.items():
        noise = 0.08 * draw.standard_normal((seeds, units)) + 0.006 * draw.standard_normal((seeds, 1))
        scores[name] = (hard + noise < level).astype(float)
        answer = np.where(scores[name] > 0, labels, (labels + 1) % 4)
        logits[name] = 3.0 * np.eye(4)[answer] + draw.standard_normal((seeds, units, 4))
        scores[name] = (logits[name].argmax(2) == labels).astype(float)
    part = "valid" if sealed else "test"
    arms = {}
    for name in levels:
        per_seed = scores[name].mean(1)
        kind = "source" if name in sources else "student"
        arm: dict[str, Any] = {
            "explanation": "the source" if kind == "source" else EXPLANATIONS.get(name, f"the recipe's [arms.{name}]"),
            "kind": kind,
            "control": name in CONTROLS,
            "status": "done",
            **{key: value for key, value in summary(per_seed.tolist()).items() if key != "per_seed"},
            "per_seed": per_seed.tolist(),
            "metrics": {"accuracy": summary(per_seed.tolist()), "nll": summary((2 - per_seed).tolist())},
            "valid": summary((per_seed + 0.01).clip(0, 1).tolist()),
        }
        if parts and not sealed:
            arm["parts"] = {p: summary((per_seed - 0.01 * i).tolist()) for i, p in enumerate(parts)}
        arm["inputs"] = {
            "labelled": 50,
            "unlabelled": 0 if name in ("alone", "labelled-only", "label-smoothing") else 1447,
            "test_inputs": 0 if name in ("alone", "labelled-only", "label-smoothing") else 1200,
            "fields": ["x", "edge_index"] if kind == "source" else ["x"],
        }
        arm["cost"] = {"training_seconds": 1.5 + len(name) / 10, "steps": [2000 - 100 * (name == "alone") * s for s in range(seeds)]}
        if name not in estimators:
            size = 26_122 if kind == "source" else 9_610
            arm["cost"] |= {"parameters": size, "bytes": 4 * size, "training_flops": 7 * 10**10 + size}
            if name in ("alone", "distilled"):
                arm["cost"]["latency_ms"] = {"1": 0.043 + len(name) / 1e4, "100": 0.08}
        else:
            arm["cost"] |= {"steps": [0] * seeds}
        curve = [(step, 1 - np.exp(-step / 300)) for step in range(100, 2001, 100)]
        arm["history"] = [
            [] if name in estimators else [[step, float(rise * per_seed[s])] for step, rise in curve[: 20 - s]] for s in range(seeds)
        ]
        arm["notes"] = []
        if name not in estimators:
            raw = [calibration.probabilities(logits[name][s]) for s in range(seeds)]
            bins = calibration.reliability_curve(np.concatenate(raw), np.tile(labels, seeds))
            arm["calibration"] = {
                "ece": calibration.expected_calibration_error(raw[0], labels),
                "nll": calibration.negative_log_likelihood(raw[0], labels),
                "temperature": 1.2,
                "ece_scaled": 0.021,
                "nll_scaled": 0.31,
            }
            arm["reliability"] = {
                key: [None if np.isnan(v) else float(v) for v in getattr(bins, key)] for key in ("edges", "confidence", "accuracy", "count")
            }
            if sources and sources[0] in levels and name != sources[0]:
                near = calibration.agreement(logits[name][0], logits[sources[0]][0], labels)
                arm["fidelity"] = {"agreement": near.overall, "agreement_teacher_wrong": near.teacher_wrong, "kl": 0.21, "kl_teacher_wrong": 0.9}
        arms[name] = arm
    if "distilled" in levels and sources:
        arms["restricted-teacher"] = {
            "explanation": "a teacher of the same kind that reads the student's fields alone",
            "kind": "student",
            "control": True,
            "status": "not applicable",
            "reason": "source 'teacher' cannot run without edge_index, which the student does not read",
        }

    def compare(candidate: str, baseline: str) -> verdicts.Comparison:
        return verdicts.compare(
            candidate, baseline, candidate_scores=scores[candidate], baseline_scores=scores[baseline], metric="accuracy",
            margin=margin, single_graph=True, budget=budget, extended=extended, resamples=400,
        )  # fmt: skip

    students = [name for name in levels if name not in sources]
    comparisons = verdicts.adjust([compare(name, "alone") for name in students if name != "alone"])
    attribution = []
    if "distilled" in levels:
        attribution = verdicts.adjust([compare("distilled", name) for name in students if name in CONTROLS[:-1]])
    gap = None
    if {"alone", "distilled"} <= set(levels) and sources:
        ratio = statistics.gap_recovered(*(scores[name].mean(1) for name in ("distilled", "alone", sources[0])))
        interval = None if ratio.interval is None else [ratio.interval.low, ratio.interval.high]
        gap = {"value": None if np.isnan(ratio.value) else ratio.value, "interval": interval, "reason": ratio.reason}
    said = [c.reason for c in comparisons if c.candidate not in CONTROLS]
    if attribution:
        said.append("The gain survives `hard-teacher`: the teacher's class decisions alone give it, which is pseudo-labelling "
                    "(hard-teacher +6.4 against alone).")  # fmt: skip
    return {
        "format": 1,
        "recipe": "graph/glnn",
        "dataset": {"name": "graph/digits-knn", "unit": "sample", "rows": 1797, "setting": "transductive", "content": "5f" * 32},
        "metric": {"name": "accuracy", "higher_is_better": True},
        "seeds": list(range(seeds)),
        "vary": ["split", "teacher", "student"],
        "evaluated": part,
        "unsealings": 0 if sealed else 3,
        "budget": budget,
        "arms": arms,
        "comparisons": [c.to_json() for c in comparisons],
        "attribution": [c.to_json() for c in attribution],
        "gap_recovered": gap,
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
        "warnings": ["The inputs (not the labels) of 1200 test samples were seen in training: the setting is transductive."],
    }


def lower_is_better() -> dict[str, Any]:
    """A regression: errors instead of accuracies, no class probabilities."""
    draw = np.random.default_rng(3)
    result = make(levels={name: LEVELS[name] for name in ("teacher", "alone", "distilled")})
    errors = {name: base + 0.1 * draw.standard_normal((5, 30)) for name, base in (("teacher", 3.1), ("alone", 4.2), ("distilled", 3.4))}
    result["metric"] = {"name": "mae", "higher_is_better": False}
    for name, values in errors.items():
        arm = result["arms"][name]
        arm |= summary(values.mean(1).tolist())
        arm["metrics"] = {"mae": summary(values.mean(1).tolist())}
        arm["history"] = [[[step, 5 - step / 1000] for step in (100, 200)] for _ in range(5)]
        for key in ("calibration", "reliability", "fidelity"):
            arm.pop(key, None)
    compared = verdicts.adjust([
        verdicts.compare("distilled", "alone", candidate_scores=errors["distilled"], baseline_scores=errors["alone"],
                         metric="mae", higher_is_better=False, unit="subject")
    ])  # fmt: skip
    result["comparisons"], result["attribution"] = [c.to_json() for c in compared], []
    result["statements"] = [c.reason for c in compared]
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


def cases() -> dict[str, dict[str, Any]]:
    """Every odd result that reporting has to get through."""
    three = {name: LEVELS[name] for name in ("teacher", "alone", "distilled")}
    whole = make()
    return {
        "whole": whole,
        "only alone": make(levels={"alone": 0.85}, sources=()),
        "no distilled arm": make(levels={"teacher": 0.9, "alone": 0.85}),
        "sealed": make(sealed=True, levels=three),
        "one seed": make(1),
        "three seeds": make(3, levels=three),
        "few units": make(levels=three, units=5),
        "no difference": make(levels={"teacher": 0.9, "alone": 0.85, "distilled": 0.85}, margin=0.2),
        "estimators": make(levels=three | {"tree": 0.88}, estimators=("alone", "distilled", "tree")),
        "two sources": make(levels={"t1": 0.93, "t2": 0.90} | {"alone": 0.85, "distilled": 0.92}, sources=("t1", "t2")),
        "parts": make(parts=("tran", "ind")),
        "published and extended": make(6, budget="published", extended=True, levels=three),
        "lower is better": lower_is_better(),
        "odd names": renamed(whole, "distilled", "_mit $umlaut_ä$ [red] & <b> 蒸留 with a rather long name"),
    }
