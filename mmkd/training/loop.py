"""The loop: stages of steps, validation, early stopping, checkpoints, exact resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmkd import distributed
from mmkd.binding import Bound
from mmkd.data.datasets import LazyDataset
from mmkd.data.views import Batch, View
from mmkd.errors import ConfigError, StorageError, TrainingError
from mmkd.files import append_line, storage_errors, truncate_to
from mmkd.methods.base import Method
from mmkd.schemes.base import Stage
from mmkd.training.checkpoints import Checkpoints, flatten_optimiser, restore_optimiser
from mmkd.training.loader import batches
from mmkd.training.optimisers import gradient_norm, learning_rate, make_optimiser
from mmkd.training.order import Order
from mmkd.training.randomness import StepKeys, fixed_order, forked, key, set_global
from mmkd.training.settings import Training
from mmkd.training.step import Step, evaluating

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called with (step, steps, losses of the last logged step)."""
_FP16_SKIPS = 20


@dataclass
class Fitted:
    """What training did.

    Arguments:
        steps: optimiser steps taken.
        best_step: step whose weights were kept.
        best_score: its validation score, None without validation.
        seconds: time in the loop, over all resumes.
        history: (step, validation score) pairs.
        rows_seen: training rows drawn, repetitions included.
    """

    steps: int = 0
    best_step: int = 0
    best_score: float | None = None
    waited: int = 0
    seconds: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)
    rows_seen: int = 0
    stopped: bool = False


class Trainer:
    """Trains the models of some stages.

    Arguments:
        models: models that learn, by name.
        stages: what they learn, in order; the steps are shared out by `Stage.share`.
        view: training rows and labels.
        settings: loop, optimiser, selection.
        seed: seed of order, dropout and augmentation.
        validate: validation score of the current weights; None: no selection.
        higher_is_better: direction of that score.
        directory: where checkpoints and `metrics.jsonl` go; None: nothing is written.
        progress: called at every logged step.

    Raises `TrainingError` for a non-finite loss or gradient, naming step, losses and rows; nothing is updated then.
    """

    def __init__(
        self,
        models: Mapping[str, Bound],
        stages: Sequence[Stage],
        view: View,
        settings: Training,
        *,
        seed: int,
        validate: Callable[[], float] | None = None,
        higher_is_better: bool = True,
        directory: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.models = models
        self.stages = list(stages)
        self.view = view
        self.settings = settings
        self.seed = seed
        self.validate = validate
        self.sign = 1.0 if higher_is_better else -1.0
        self.directory = directory
        self.progress = progress
        self.fitted = Fitted()
        self.best: dict[str, Tensor] = {}
        self.device = next((p.device for m in models.values() for p in m.parameters()), torch.device("cpu"))
        self.steps = [Step(models, stage.updates).to(self.device) for stage in self.stages]  # adapters too
        self.ends = _ends(self.stages, settings.steps)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self._precision() is torch.float16)
        self._skipped = 0
        self._prepared = -1

    def run(self) -> Fitted:
        """Train to the end, resuming where a checkpoint stands; leaves the selected weights in the models."""
        checkpoints = Checkpoints(self.directory / "checkpoints") if self.directory else None
        resumed = checkpoints.latest() if checkpoints else None
        state = resumed.state() if resumed else {}
        tensors = resumed.tensors() if resumed else {}
        if resumed:
            self.fitted = Fitted(**state["fitted"])
            self.best = _part(tensors, "best/")
        if self.directory and distributed.rank() == 0:
            with storage_errors(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
            truncate_to(self.directory / "metrics.jsonl", state.get("metrics_bytes", 0))
        # The loop seeds the global generators at every step; they are put back after it.
        with forked(self.seed, "dropout"), fixed_order(self.device):
            for number, stage in enumerate(self.stages):
                begin = self.ends[number - 1] if number else 0
                if self.fitted.steps >= self.ends[number] or self.fitted.stopped:
                    continue
                optimisers = {
                    name: make_optimiser(self.steps[number].trained_by(name), self.settings) for name in stage.updates
                }
                if resumed and state["stage"] == number:
                    self._restore(number, optimisers, tensors, state)
                self._run_stage(number, stage, optimisers, begin, checkpoints)
        if self.settings.select == "best" and self.best:
            self._load_best()
        return self.fitted

    def _run_stage(
        self,
        number: int,
        stage: Stage,
        optimisers: Mapping[str, torch.optim.Optimizer],
        begin: int,
        checkpoints: Checkpoints | None,
    ) -> None:
        rows, labelled = self.view.labelled if stage.data == "labelled" else self.view.rows, self.view.labelled
        if isinstance(self.view.dataset, LazyDataset):  # worker processes read by these ids
            rows, labelled = rows.cpu(), labelled.cpu()
        order = Order(rows, labelled, self.settings, self.seed)
        step_module = self.steps[number]
        wrapped = distributed.wrap(step_module)
        step_module.train()
        keys = StepKeys(self.seed, "dropout", distributed.rank())
        every = self.settings.evaluate_every or order.steps_per_epoch
        clock = saved = time.monotonic()
        first, last = self.fitted.steps, self.ends[number]
        parameters = {name: step_module.trained_by(name) for name in stage.updates}
        unique = {id(source): source for source in _sources(stage).values()}.values()
        after_step = [*(source.after_step for source in unique), *stage.after_step]
        drawn = self._batches(order, first - begin, last - begin)
        for step in range(first, last):
            if (step - begin) % order.steps_per_epoch == 0 or self._prepared != number:
                set_global(key(self.seed, "refresh", step))  # the same in every process
                self._refresh(number, stage, order.epoch(step - begin))
            batch = next(drawn)  # after the fields that methods add, which are in it
            set_global(keys[step])
            rate = learning_rate(self.settings, step)
            logged: dict[str, float] = {}
            for name, optimiser in optimisers.items():
                losses = self._update(wrapped, name, batch, step, optimiser, parameters[name], rate)
                if step % self.settings.log_every == 0:
                    prefix = f"{name}/" if len(optimisers) > 1 else ""
                    logged |= {f"{prefix}{part}": float(value.detach()) for part, value in losses.items()}
            for hook in after_step:
                hook(self.models)
            self.fitted.steps = step + 1
            self.fitted.rows_seen += len(batch.index) * distributed.world_size()
            if logged:
                self._log({"step": step, "lr": rate, **logged})
                if self.progress:
                    self.progress(step, self.settings.steps, logged)
            if self.validate and ((step + 1 - begin) % every == 0 or step + 1 == last):
                self._validate(step + 1, selects=number == len(self.stages) - 1)
            now = time.monotonic()
            finished = self.fitted.stopped or step + 1 == last
            if checkpoints and (now - saved >= self.settings.checkpoint_seconds) and not finished:
                self.fitted.seconds += now - clock
                clock = saved = now
                self._save(checkpoints, number, optimisers)
            if self.fitted.stopped:
                break
        self.fitted.seconds += time.monotonic() - clock

    def _update(
        self,
        step_module: nn.Module,
        name: str,
        batch: Batch,
        step: int,
        optimiser: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        rate: float,
    ) -> dict[str, Tensor]:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            losses: dict[str, Tensor] = step_module(batch, name, step)
        loss = losses["loss"]
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise ConfigError(f"update '{name}' has nothing to learn", "give the task a weight, or add a method")
        if not math.isfinite(loss.item()):
            raise TrainingError(
                _not_finite("loss", step, losses, batch), "lower the learning rate, or look at these rows"
            )
        self.scaler.scale(loss).backward()
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            raise ConfigError(
                f"update '{name}' gives no gradient to what it trains", "its losses reach other models alone"
            )
        if self.scaler.is_enabled():
            return self._scaled_step(optimiser, parameters, losses, step, batch)
        norm = gradient_norm(gradients)
        if not math.isfinite(norm.item()):
            raise TrainingError(
                _not_finite("gradient", step, losses, batch), "lower the learning rate, or set clip_norm"
            )
        if self.settings.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        optimiser.step()
        return losses

    def _scaled_step(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        losses: dict[str, Tensor],
        step: int,
        batch: Batch,
    ) -> dict[str, Tensor]:
        """An fp16 step: the scaler skips single overflows; only repeated ones are an error."""
        self.scaler.unscale_(optimiser)
        if self.settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        before = self.scaler.get_scale()
        self.scaler.step(optimiser)
        self.scaler.update()
        self._skipped = self._skipped + 1 if self.scaler.get_scale() < before else 0
        if self._skipped > _FP16_SKIPS:
            raise TrainingError(
                _not_finite(f"gradient ({self._skipped} steps in a row)", step, losses, batch),
                'set precision = "bfloat16" or "float32"',
            )
        return losses

    def _batches(self, order: Order, first: int, last: int) -> Iterator[Batch]:
        return batches(self.view, order, order.epoch, first, last, self.seed, self.settings.workers, self.device)

    def _precision(self) -> torch.dtype:
        name = self.settings.precision
        if name == "auto":
            return torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return getattr(torch, name)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = self._precision()
        return nullcontext() if dtype is torch.float32 else torch.autocast(self.device.type, dtype)

    def _refresh(self, number: int, stage: Stage, epoch: int) -> None:
        """Let methods add per-sample fields: once before the first step, and at the start of each epoch."""
        for update in stage.updates.values():
            for method in update.methods.values():
                assert isinstance(method, Method)
                if self._prepared != number:
                    self.view.extra |= method.prepare(self.view, update.sources)
                learner = self.models[(*update.trains, *self.models)[0]]
                self.view.extra |= method.refresh(epoch, self.view, update.sources, learner)
        self._prepared = number

    def _validate(self, step: int, *, selects: bool) -> None:
        assert self.validate is not None
        with evaluating(nn.ModuleDict(self.models)):
            score = self.validate()
        self.fitted.history.append((step, score))
        self._log({"step": step, "valid": score})
        if not selects:
            return
        best = self.fitted.best_score
        if (
            best is None or self.sign * score >= self.sign * best
        ):  # a tie counts as progress and keeps the later weights
            self.fitted.waited = 0
            self.fitted.best_score, self.fitted.best_step = score, step
            self.best = {name: value.detach().clone() for name, value in self._weights().items()}
        else:
            self.fitted.waited += 1
        if self.settings.patience and self.fitted.waited >= self.settings.patience:
            self.fitted.stopped = True

    def _weights(self) -> dict[str, Tensor]:
        return nn.ModuleDict(self.models).state_dict()

    def _load_best(self) -> None:
        nn.ModuleDict(self.models).load_state_dict(self.best)

    def _log(self, line: dict[str, Any]) -> None:
        if self.directory and distributed.rank() == 0:
            append_line(self.directory / "metrics.jsonl", json.dumps(line))

    def _save(self, checkpoints: Checkpoints, number: int, optimisers: Mapping[str, torch.optim.Optimizer]) -> None:
        if distributed.rank() != 0:
            return
        assert self.directory is not None
        tensors = {f"step/{name}": value for name, value in self.steps[number].state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"field/{name}": value for name, value in self.view.extra.items()}
        state: dict[str, Any] = {
            "stage": number,
            "fitted": asdict(self.fitted),
            "scaler": self.scaler.state_dict(),
            "optimisers": {},
            "prepared": self._prepared,
        }
        for name, optimiser in optimisers.items():
            held, state["optimisers"][name] = flatten_optimiser(optimiser, f"optimiser/{name}/")
            tensors |= held
        for name, source in _sources(self.stages[number]).items():
            tensors |= {f"source/{name}/{part}": value for part, value in source.state().items()}
        metrics = self.directory / "metrics.jsonl"
        state["metrics_bytes"] = metrics.stat().st_size if metrics.exists() else 0
        checkpoints.save(self.fitted.steps, tensors, state)

    def _restore(
        self,
        number: int,
        optimisers: Mapping[str, torch.optim.Optimizer],
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
    ) -> None:
        try:
            self.steps[number].load_state_dict(_part(tensors, "step/"))
        except RuntimeError as error:
            raise StorageError(
                f"the checkpoint in {self.directory} is of another model or recipe", "start in a new run directory"
            ) from error
        for name, optimiser in optimisers.items():
            restore_optimiser(optimiser, tensors, state["optimisers"][name])
        for name, source in _sources(self.stages[number]).items():
            source.load_state(_part(tensors, f"source/{name}/"))
        self.view.extra = {name: value.to(self.device) for name, value in _part(tensors, "field/").items()}
        self.scaler.load_state_dict(state["scaler"])
        self._prepared = state["prepared"]


def _ends(stages: Sequence[Stage], steps: int) -> list[int]:
    """The step at which each stage ends."""
    total, done, ends = sum(stage.share for stage in stages), 0.0, []
    for stage in stages:
        done += stage.share
        ends.append(round(steps * done / total))
    return ends


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _sources(stage: Stage) -> dict[str, Any]:
    return {
        f"{update}/{name}": source for update, parts in stage.updates.items() for name, source in parts.sources.items()
    }


def _not_finite(what: str, step: int, losses: Mapping[str, Tensor], batch: Batch) -> str:
    values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in losses.items())
    rows = batch.index.tolist()
    named = ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
    return f"non-finite {what} at step {step} ({values}); rows {named}"
