"""What a recipe connects, measured in dry runs: nothing is trained, no label is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mmkd import recipes
from mmkd.adapters.base import Adapter, Chain
from mmkd.binding import Bound, parameter_count
from mmkd.estimators import Estimator
from mmkd.evaluation.arms import EXPLANATIONS, plans
from mmkd.evaluation.experiment import Experiment
from mmkd.methods.base import Method
from mmkd.schemes.base import Parts, Scheme
from mmkd.sources.base import Source
from mmkd.training.loader import example


class Explained(dict[str, Any]):
    """What `explain` found: JSON for programs, and for people text, printed or as a notebook's output."""

    def __str__(self) -> str:
        return as_text(self)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # IPython's
        printer.text(str(self))


def explain(recipe: str | Path | Mapping[str, Any], changes: Sequence[str] = ()) -> Explained:
    """Fields, models, alignment and arms of a recipe as JSON; printed it is text (`as_text`).

    Raises `LayoutError` where features cannot be aligned, `BindingError` for a field that is not there.
    """
    loaded, _ = recipes.load(recipe, changes)
    experiment = Experiment(loaded)
    view = experiment.training_view(loaded.seed_list[0])
    batch = example(view, 0)
    student = experiment.model(loaded.student, 0, "student-init")
    explained = Explained()
    explained |= {
        "recipe": loaded.name,
        "fields": {name: declared.manifest() for name, declared in experiment.dataset.fields.items()},
        "rows": len(experiment.dataset),
        "student": _model(student, batch),
        "learners": {},
        "sources": {},
        "methods": [],
        "arms": {
            plan.name: EXPLANATIONS.get(plan.name, "source" if plan.source else "further arm") for plan in plans(loaded)
        },
    }
    scheme: Scheme = loaded.scheme.factory("schemes", "scheme")()
    learners = experiment.learners(student, scheme, 0) if isinstance(student, Bound) else {}
    explained["learners"] = {name: _model(model, batch) for name, model in learners.items() if name != "student"}
    sources: dict[str, Source] = {}
    for name, table in loaded.sources.items():
        models = [
            experiment.model(m, 0, "teacher", i, where=f"sources.{name}.model") for i, m in enumerate(table.all_models)
        ]
        explained["sources"][name] = {
            "use": table.use,
            "labels": table.labels,
            "models": [_model(m, batch) for m in models],
        }
        if learners:
            sources[name] = experiment.source(name, table, [m for m in models if isinstance(m, Bound)], learners)
    if not learners:
        return explained
    update = experiment.updater(
        loaded, learners, view, 0, experiment.task(), lambda _name, source, _view, _roles: source
    )
    updates = {
        who: part for stage in scheme.stages(Parts(learners, sources, update)) for who, part in stage.updates.items()
    }
    for who, part in updates.items():
        for name, method in part.methods.items():
            assert isinstance(method, Method)
            shown = name if len(updates) == 1 else f"{who}/{name}"
            explained["methods"].append(
                {
                    "name": shown,
                    "source": method.citation,
                    "weight": str(part.weights[name]),
                    "parameters": parameter_count(method),
                    "reads": {k: sorted(v) for k, v in method.reads.items()},
                    "alignment": _alignment(method),
                }
            )
    return explained


def _model(model: Bound | Estimator, batch: Any) -> dict[str, Any]:
    reads = {parameter: list(fields) for parameter, fields in model.binding.inputs.items()}
    if isinstance(model, Estimator):
        return {"class": type(model).__name__, "reads": reads, "kind": "estimator"}
    specs = model.measure(batch)
    return {
        "class": type(model.module).__name__,
        "reads": reads,
        "parameters": parameter_count(model.module),
        "outputs": {name: list(spec.shape) for name, spec in specs.outputs.items()},
        "taps": {role: {"path": spec.path, "form": str(spec)} for role, spec in specs.features.items()},
    }


def _alignment(method: Method) -> list[dict[str, Any]]:
    """The adapters inside a method, in order."""
    lines = []
    inside: set[nn.Module] = set()
    for name, module in method.named_modules():
        if not isinstance(module, Adapter) or module in inside:
            continue
        steps = [type(part).__name__ for part in module.parts] if isinstance(module, Chain) else [type(module).__name__]
        inside |= set(module.modules())
        lines.append({"adapter": name, "steps": steps, "into": str(module.spec), "parameters": parameter_count(module)})
    return lines


def as_text(explained: Mapping[str, Any]) -> str:
    """The explanation for people."""
    lines = [f"recipe {explained['recipe']}   {explained['rows']} rows", "", "fields"]
    for name, form in explained["fields"].items():
        parts = [
            form.get("kind", "sample"),
            form.get("dtype", ""),
            str(list(form.get("shape", []))),
            form.get("layout", ""),
        ]
        lines.append(
            f"  {name:16} {' '.join(part for part in parts if part)}" + ("   target" if form.get("target") else "")
        )
        lines += [f"    {key} {list(part.get('shape', []))}" for key, part in form.get("parts", {}).items()]
    lines += ["", *_model_lines("student", explained["student"])]
    for name, model in explained["learners"].items():
        lines += _model_lines(name, model)
    for name, source in explained["sources"].items():
        lines.append(f"source {name}   {source['use']}, labels: {source['labels']}")
        for model in source["models"]:
            lines += ["  " + line for line in _model_lines("model", model)]
    for method in explained["methods"]:
        lines.append(f"method {method['name']}   weight {method['weight']}, {method['parameters']} parameters")
        lines.append(f"  {method['source']}")
        reads = [f"{owner}.{role}" for owner, roles in method["reads"].items() for role in roles]
        lines.append(f"  reads {', '.join(reads) if reads else 'outputs'}")
        for step in method["alignment"]:
            lines.append(
                f"  {step['adapter']}: student -> {' -> '.join(step['steps'])} -> {step['into']}"
                f"   {step['parameters']} parameters"
            )
    lines += ["", "arms"] + [f"  {name:18} {what}" for name, what in explained["arms"].items()]
    return "\n".join(lines)


def _model_lines(title: str, model: Mapping[str, Any]) -> list[str]:
    reads = ", ".join(p if [p] == f else f"{p} = {'+'.join(f)}" for p, f in model["reads"].items())
    count = f", {model['parameters']} parameters" if "parameters" in model else ""
    lines = [f"{title}   {model['class']}({reads}){count}"]
    lines += [f"  output {name} {shape}" for name, shape in model.get("outputs", {}).items()]
    lines += [f"  tap {role}: {tap['path']} {tap['form']}" for role, tap in model.get("taps", {}).items()]
    return lines
