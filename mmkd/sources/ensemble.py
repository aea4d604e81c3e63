"""Several trained models as one source."""

from __future__ import annotations

from typing import Literal

import torch

from mmkd.calibration import fit_temperature
from mmkd.data.views import Batch, View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd.sources.live import freeze, weights_hash


class Ensemble(Source):
    """The mean of several models' outputs; it has no features, since theirs live in different spaces.

    Arguments:
        mean: `probabilities` gives the logarithm of the mean softmax, `logits` the mean logits.
        calibrate: scale each model's class logits by the temperature that fits the validation labels best (Guo et al.
            2017, arXiv 1706.04599, section 4.2), so that models which are surer than they should be, or less sure, do
            not distort the mean.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        /,
        *,
        mean: Literal["probabilities", "logits"] = "probabilities",
        calibrate: bool = False,
    ) -> None:
        super().__init__(knowledge)
        if len(knowledge.models) < 2:
            raise ConfigError("source 'ensemble' takes two models or more", "list them: models = [{ use = ... }, ...]")
        self.models = [freeze(model) for model in knowledge.models]
        self.mean, self.calibrate = mean, calibrate
        self.temperatures = [1.0] * len(self.models)
        self.relational = any(model.binding.relational for model in self.models)
        self.keep(set())

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        with torch.no_grad():
            said = [model.eval()(batch).outputs for model in self.models]
            heat = self.temperatures
            return Signals(
                {
                    name: self._join(torch.stack([one[name].float() / t for one, t in zip(said, heat, strict=True)]))
                    for name in said[0]
                }
            )

    def fit(self, valid: View) -> None:
        """Find the temperatures. Raises `ConfigError` without validation rows, or without one label per row."""
        if not self.calibrate:
            return
        labels = [name for name, field in valid.fields.items() if field.target and field.classes and not field.shape]
        if len(labels) != 1 or not len(valid.rows):
            raise ConfigError("source 'ensemble': calibrate needs validation rows with one class each")
        for number, model in enumerate(self.models):
            logits, truth = [], []
            with torch.no_grad():
                for batch in valid.batches(len(valid.rows) if self.relational else valid.dataset.rows_at_once):
                    logits.append(model.eval()(batch).logits.double().cpu())
                    truth.append(batch[labels[0]].cpu())
            self.temperatures[number] = fit_temperature(torch.cat(logits).numpy(), torch.cat(truth).numpy())

    def _join(self, outputs: torch.Tensor) -> torch.Tensor:
        if self.mean == "logits":
            return outputs.mean(0)
        return outputs.log_softmax(2).logsumexp(0) - torch.log(torch.tensor(len(self.models)))

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        outputs = self.signals(batch, None, None).outputs
        return Specs({name: Spec(None, tuple(value.shape[1:])) for name, value in outputs.items()})

    def keep(self, roles: set[str]) -> None:
        for model in self.models:
            model.taps.keep(set())

    def fingerprint(self) -> dict[str, object]:
        return {
            "ensemble": [weights_hash(model) for model in self.models],
            "mean": self.mean,
            "temperatures": list(self.temperatures),
        }
