"""One arm of one seed: trained, evaluated and stored; done once, resumed where it was cut off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmkd import distributed
from mmkd.binding import Bound
from mmkd.components import plain
from mmkd.data.views import View
from mmkd.errors import BindingError, ConfigError, LayoutError, TrainingError
from mmkd.estimators import Estimator
from mmkd.evaluation import cost
from mmkd.evaluation.arms import Plan
from mmkd.evaluation.controls import Control, NotApplicableError
from mmkd.evaluation.experiment import Experiment, as_index
from mmkd.evaluation.saved import load_records, load_weights, save_records, save_weights
from mmkd.evaluation.scores import collect, eval_batches, is_relational, predictor, score
from mmkd.files import lock, read_json, storage_errors, write_json
from mmkd.recipes import Recipe, SourceTable
from mmkd.schemes.base import Parts, Scheme, Stage, Update
from mmkd.schemes.offline import Offline
from mmkd.sources.base import Knowledge, Source
from mmkd.sources.live import Live
from mmkd.sources.stored import tabulate
from mmkd.tasks.base import Records, Task
from mmkd.training.loop import Fitted, Progress, Trainer
from mmkd.training.randomness import key
from mmkd.training.settings import Training


class Job:
    """Trains and evaluates one arm for one seed.

    Arguments:
        experiment: the recipe made real.
        plan: the arm.
        seed: the run's seed.
        root: the run's `seeds` folder; the job owns `<root>/<seed>/<arm>/`.
        sealed: leave test data alone.
        progress: called at logged steps.
    """

    def __init__(
        self,
        experiment: Experiment,
        plan: Plan,
        seed: int,
        root: Path,
        *,
        sealed: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.experiment, self.plan, self.seed, self.root = experiment, plan, seed, root
        self.sealed, self.progress = sealed, progress
        self.recipe: Recipe = experiment.recipe.with_arm(plan.further) if plan.further else experiment.recipe
        self.control = Control(experiment, self.recipe, plan, seed)
        self.directory = root / str(seed) / plan.name
        self.notes: list[str] = []

    def run(self) -> dict[str, Any]:
        """The job's result, from disk where it is complete (and not sealed when test scores are now wanted)."""
        path = self.directory / "job.json"
        done = distributed.agree(read_json(path) if path.exists() else None)
        if done and done["sealed"] <= self.sealed:
            return done
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        with lock(self.directory) if distributed.rank() == 0 else nullcontext():
            try:
                if self.plan.choose:
                    result = self._choose()
                else:
                    result = self._source() if self.plan.source else self._student()
            except (NotApplicableError, LayoutError, BindingError, ConfigError) as error:
                if not self.plan.is_control:
                    raise
                result = {"status": "not applicable", "reason": error.cause}
            result = plain(
                {"arm": self.plan.name, "seed": self.seed, "sealed": self.sealed, "status": "done", **result}
            )
            if distributed.rank() == 0:
                write_json(path, result)
        return distributed.agree(result)

    # teachers -----------------------------------------------------------------------------------------------------

    def _source(self) -> dict[str, Any]:
        """Train the models of a source, gate them, evaluate what the source says."""
        table = self.recipe.sources[self.plan.source]
        models, fitted = self._train_models(self.plan.source, table, self.directory)
        if _needs_student(table):
            return {"status": "not applicable", "reason": "this source is made from the student while it learns"}
        source = self.experiment.source(self.plan.source, table, models, {}, self.seed)
        result = self._evaluate(source)
        if models:
            self._gate(source, result)
        view = self.experiment.training_view(self.seed, labels=table.labels)
        return {**result, **self._account(models, view, fitted), "notes": self.notes}

    def _train_models(self, name: str, table: SourceTable, directory: Path) -> tuple[list[Bound], list[Fitted]]:
        models, fits = [], []
        for index, model_table in enumerate(table.all_models):
            where = directory / f"model{index}"
            seed = self.recipe.seed("teacher", self.seed)
            model = self.experiment.model(model_table, seed, "teacher", index, where=f"sources.{name}.model")
            if isinstance(model, Estimator):
                raise ConfigError(
                    f"sources.{name}: an estimator cannot be a live teacher", 'store its predictions: use = "file"'
                )
            saved = where / "weights.safetensors"
            if distributed.agree(saved.exists()):
                load_weights(model, saved)
                fits.append(Fitted(**read_json(where / "fitted.json")))
            else:
                task = self.experiment.task()
                stage = Stage({"teacher": Update(["teacher"], task)}, data=table.data)
                labelled_only = table.data == "labelled"
                view = self.experiment.training_view(self.seed, labels=table.labels, labelled_only=labelled_only)
                order_seed = key(seed, "teacher", 1, index) % 2**31
                fits.append(
                    self._fit(
                        {"teacher": model},
                        [stage],
                        view,
                        table.training or self.recipe.training,
                        task,
                        "teacher",
                        where,
                        order_seed,
                    )
                )
                if distributed.rank() == 0:
                    write_json(where / "fitted.json", asdict(fits[-1]))
                save_weights(model, saved)  # last: its presence says that this model is done
            models.append(model)
        return models, fits

    def _gate(self, source: Source, result: Mapping[str, Any]) -> None:
        """A teacher that does not beat the constant predictor on validation data has learnt nothing."""
        task = self.experiment.task()
        valid = self.experiment.view(self.seed, "valid")
        if not len(valid.rows) or type(task).constant is Task.constant:
            return
        distributed.agree(None)
        records = load_records(self.directory / "valid.npz")
        view = self.experiment.training_view(self.seed, labelled_only=True)
        truth = collect(task, predictor(source), eval_batches(view, is_relational(source)))
        constant = task.constant(truth, records)
        if constant is None:
            return
        sign = 1 if task.higher_is_better else -1
        if sign * result["valid"][task.primary] <= sign * constant:
            raise TrainingError(
                f"source '{self.plan.source}', seed {self.seed}: {task.primary} {result['valid'][task.primary]:.4f} on "
                f"validation rows does not beat the constant predictor ({constant:.4f})",
                f"train it better: [sources.{self.plan.source}.training]",
            )

    # a choice -----------------------------------------------------------------------------------------------------

    def _choose(self) -> dict[str, Any]:
        """The result and records of the arm with the best validation score (ties: the first); training costs add up."""
        task = self.experiment.task()
        sign = 1 if task.higher_is_better else -1
        found = {name: read_json(self.root / str(self.seed) / name / "job.json") for name in self.plan.choose}
        if lacking := [name for name, result in found.items() if "valid" not in result]:
            raise ConfigError(
                f"arms.{self.plan.name}: arm '{lacking[0]}' has no validation score to choose by", "leave it out"
            )
        chosen = max(found, key=lambda name: sign * found[name]["valid"][task.primary])
        if distributed.rank() == 0:
            for part in ("valid.npz", "test.npz"):
                if (records := self.root / str(self.seed) / chosen / part).exists():
                    shutil.copyfile(records, self.directory / part)
        spent = sum(result["cost"]["training_seconds"] for result in found.values())
        result = {key: value for key, value in found[chosen].items() if key not in ("arm", "seed", "sealed", "status")}
        note = f"seed {self.seed}: '{chosen}', chosen on validation among {len(found)} arms"
        cost = {**result["cost"], "training_seconds": spent}
        return {**result, "chosen": chosen, "cost": cost, "notes": [*result["notes"], note]}

    # students -----------------------------------------------------------------------------------------------------

    def _student(self) -> dict[str, Any]:
        student = self.experiment.model(self.recipe.student, self.recipe.seed("student", self.seed), "student-init")
        view = self.experiment.training_view(self.seed, labels=self.plan.labels, labelled_only=self.plan.labelled_only)
        task = self._task()
        learnt: dict[str, Any] = {}
        if isinstance(student, Estimator):
            fitted = self._fit_estimator(student, view, task)
            if distributed.rank() == 0:
                write_json(self.directory / "estimator.json", student.state())
            learnt = {"learnt": student.describe(task.field.classes)}
        else:
            models, stages = self._stages(student, view, task)
            fitted = self._fit(
                models,
                stages,
                view,
                self.recipe.training,
                task,
                "student",
                self.directory,
                self.recipe.seed("student", self.seed),
            )
            for name, model in models.items():
                save_weights(
                    model, self.directory / ("weights.safetensors" if name == "student" else f"{name}.safetensors")
                )
        return {**self._evaluate(student), **self._account([student], view, [fitted]), **learnt, "notes": self.notes}

    def _task(self) -> Task:
        if not self.plan.smoothing:
            return self.experiment.task()
        try:
            return self.experiment.task(label_smoothing=self.plan.smoothing)
        except ConfigError as error:
            raise NotApplicableError("the task has no label_smoothing") from error

    def _stages(self, student: Bound, view: View, task: Task) -> tuple[dict[str, Bound], list[Stage]]:
        if not self.plan.distil:
            return {"student": student}, [Stage({"student": Update(["student"], task)}, data="labelled")]
        scheme: Scheme = self.recipe.scheme.factory("schemes", "scheme")() if not self.plan.control else Offline()
        if self.plan.control and self.recipe.scheme.use != "offline":
            raise NotApplicableError(f"scheme '{self.recipe.scheme.use}' has no frozen source to take knowledge from")
        seed = self.recipe.seed("student", self.seed)
        models = self.experiment.learners(student, scheme, seed)
        sources = self._sources(models)
        update = self.experiment.updater(self.recipe, models, view, seed, task, self.control.apply)
        return models, scheme.stages(Parts(models, sources, update))

    def _sources(self, students: Mapping[str, Bound]) -> dict[str, Source]:
        """The sources that this arm learns from."""
        sources = {}
        for name, table in self.recipe.sources.items():
            if self.plan.control == "self":
                sources[name] = self._alone()
                continue
            directory = self.root / str(self.seed) / name
            if self.plan.control == "restricted":
                table, directory = self.control.restrict(name, table), self.directory / name
            models, _ = self._train_models(name, table, directory)
            sources[name] = self.experiment.source(name, table, models, students, self.seed)
        return sources

    def _alone(self) -> Source:
        alone = self.experiment.model(self.recipe.student, self.recipe.seed("student", self.seed), "student-init")
        if isinstance(alone, Estimator):
            raise NotApplicableError("the student is an estimator")
        load_weights(alone, self.root / str(self.seed) / "alone" / "weights.safetensors")
        return Live(Knowledge(self.experiment.dataset, [alone]))

    # common -------------------------------------------------------------------------------------------------------

    def _fit(
        self,
        models: Mapping[str, Bound],
        stages: Sequence[Stage],
        view: View,
        settings: Training,
        task: Task,
        judged: str,
        directory: Path,
        seed: int,
    ) -> Fitted:
        valid = self._selection()
        validate: Callable[[], float] | None = None
        if len(valid.rows):
            batches = eval_batches(valid, models[judged].binding.relational)

            def validate() -> float:
                records = collect(task, models[judged], batches)
                return score(task, records, self._groups(records))
        else:
            self.notes.append("no validation rows: the last step's weights are kept")
        trainer = Trainer(
            models,
            stages,
            view,
            settings,
            seed=seed,
            validate=validate,
            directory=directory,
            higher_is_better=task.higher_is_better,
            progress=self.progress,
        )
        return trainer.run()

    def _selection(self) -> View:
        """The rows that weights are selected on."""
        return self.experiment.view(self.seed, "valid")

    def _fit_estimator(self, student: Estimator, view: View, task: Task) -> Fitted:
        """Give an estimator the same rows, labels and signals that a module would get."""
        if self.plan.smoothing:
            raise NotApplicableError("an estimator has no loss whose labels could be smoothed")
        batch, valid = view.batch(view.rows), self.experiment.view(self.seed, "valid")
        held_out = valid.batch(valid.rows)
        signals: dict[str, dict[str, np.ndarray]] = {}
        sources: dict[str, Source] = {}
        if self.plan.distil:
            for name, table in self.recipe.sources.items():
                if _needs_student(table):
                    raise ConfigError(
                        f"source '{name}' is made from the student while it learns; an estimator is fitted in one go"
                    )
            sources = self._sources({})
            for name, source in sources.items():
                said = tabulate(self.control.apply(name, source, view, set()), view, set())
                signals[name] = {key_.removeprefix("outputs/"): value.numpy() for key_, value in said.items()}
        clock = time.monotonic()
        student.fit(
            student.read(batch),
            {task.target: batch[task.target].cpu().numpy(), "labelled": batch.labelled.cpu().numpy()},
            signals,
            (student.read(held_out), {task.target: held_out[task.target].cpu().numpy()}),
            self._query(student, sources, view),
            seed=self.recipe.seed("student", self.seed),
        )
        return Fitted(steps=0, seconds=time.monotonic() - clock, rows_seen=len(view.rows))

    def _query(
        self, student: Estimator, sources: Mapping[str, Source], view: View
    ) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        """Asks the first source about new inputs of an estimator; it is asked itself, not its cache."""

        def query(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            if not sources:
                raise ConfigError(
                    "there is no teacher to ask in an arm that learns alone", "query where `signals` is not empty"
                )
            name, source = next(iter(sources.items()))
            if self.plan.control in ("hard", "shuffled", "permuted"):
                raise NotApplicableError(
                    f"the student asks source '{name}' about new inputs, where nothing can be taken away"
                )
            if not isinstance(source, Live) or source.relational:
                raise ConfigError(
                    f"source '{name}' cannot be asked about new inputs", "it answers for known rows alone"
                )
            if lacking := sorted(set(source.model.binding.fields) - set(student.binding.fields)):
                raise ConfigError(
                    f"source '{name}' cannot be asked about new inputs: it reads '{lacking[0]}' too",
                    "the student lacks that field, so new inputs have none",
                )
            fields = student.split(inputs, self.experiment.dataset.fields)
            first = view.rows[:1].expand(len(next(iter(fields.values()))))
            asked = view.batch(first).replace(**{field: value.to(first.device) for field, value in fields.items()})
            return {key_: value.cpu().numpy() for key_, value in source.signals(asked, None, None).outputs.items()}

        return query

    def _evaluate(self, model: Bound | Estimator | Source) -> dict[str, Any]:
        """Metrics on validation and, unless sealed, test rows; records are stored for the statistics."""
        task, call = self.experiment.task(), predictor(model)
        modules = [model] if isinstance(model, Bound) else []
        for module in modules:
            module.eval()
        result: dict[str, Any] = {}
        valid = self.experiment.view(self.seed, "valid")
        if len(valid.rows):
            records = collect(task, call, eval_batches(valid, is_relational(model)))
            save_records(self.directory / "valid.npz", records)
            result["valid"] = task.metrics(records, self._groups(records))
        if self.sealed:
            return result
        parts: dict[str, Records] = {}
        for part in self.experiment.split(self.seed).test:
            view = self.experiment.view(self.seed, part)
            if len(view.rows):
                parts[part] = collect(task, call, eval_batches(view, is_relational(model)))
        joined = {
            name: np.concatenate([records[name] for records in parts.values()]) for name in next(iter(parts.values()))
        }
        save_records(self.directory / "test.npz", joined)
        result["test"] = task.metrics(joined, self._groups(joined))
        if len(parts) > 1:
            result["parts"] = {part: task.metrics(records, self._groups(records)) for part, records in parts.items()}
        return result

    def _groups(self, records: Records) -> np.ndarray | None:
        groups = self.experiment.dataset.groups
        return None if groups is None else groups.cpu().numpy()[records["index"]]

    def _account(self, models: Sequence[Bound | Estimator], view: View, fits: Sequence[Fitted]) -> dict[str, Any]:
        """What this arm was given and what it cost."""
        split = self.experiment.split(self.seed)
        trained_on = view.rows.cpu()
        fields = dict.fromkeys(name for model in models for name in model.binding.fields)
        return {
            "inputs": {
                "labelled": len(view.labelled),
                "unlabelled": len(view.rows) - len(view.labelled),
                "test_inputs": int(torch.isin(trained_on, as_index(split.test_rows)).sum()),
                "fields": list(fields),
            },
            "fitted": [asdict(fit) for fit in fits],
            "cost": cost.of_models(models, view, fits, self.recipe.evaluation.latency and not self.plan.is_control),
        }


def _needs_student(table: SourceTable) -> bool:
    component: Any = table.factory("sources", "sources").component
    return not getattr(component, "per_row", True)
