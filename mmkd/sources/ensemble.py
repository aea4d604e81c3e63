"""Several trained models as one source."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmkd.calibration import fit_temperature
from mmkd.data.views import Batch, View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd.sources.live import freeze, weights_hash

ROUNDS = 20  # of adding a member


class Ensemble(Source):
    """The mean of several models' outputs; it has no features, since theirs live in different spaces.

    Arguments:
        mean: `probabilities` gives the logarithm of the mean softmax, `logits` the mean logits.
        weights: `equal`, or `selected`: members are added one by one, each as often as it helps, whichever lowers the
            mean's negative log-likelihood on validation rows most (Caruana et al. 2004, Ensemble Selection from
            Libraries of Models, sections 2.1 and 2.2); a member's weight is how often it was taken.
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
        weights: Literal["equal", "selected"] = "equal",
        calibrate: bool = False,
    ) -> None:
        super().__init__(knowledge)
        if len(knowledge.models) < 2:
            raise ConfigError("source 'ensemble' takes two models or more", "list them: models = [{ use = ... }, ...]")
        self.models = [freeze(model) for model in knowledge.models]
        self.mean, self.weights, self.calibrate = mean, weights, calibrate
        self.temperatures = [1.0] * len(self.models)
        self.shares = [1 / len(self.models)] * len(self.models)
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
        """Find temperatures and weights. Raises `ConfigError` without validation rows, or one label per row."""
        if not self.calibrate and self.weights == "equal":
            return
        labels = [name for name, field in valid.fields.items() if field.target and field.classes and not field.shape]
        if len(labels) != 1 or not len(valid.rows):
            raise ConfigError("source 'ensemble': calibrate and weights need validation rows with one class each")
        said = []
        for number, model in enumerate(self.models):
            logits, truth = [], []
            with torch.no_grad():
                for batch in valid.batches(len(valid.rows) if self.relational else valid.dataset.rows_at_once):
                    logits.append(model.eval()(batch).logits.double().cpu())
                    truth.append(batch[labels[0]].cpu())
            member, classes = torch.cat(logits), torch.cat(truth)
            if self.calibrate:
                self.temperatures[number] = fit_temperature(member.numpy(), classes.numpy())
            said.append((member / self.temperatures[number]).softmax(1)[torch.arange(len(classes)), classes])
        if self.weights == "selected":
            self.shares = selected(torch.stack(said))

    def _join(self, outputs: Tensor) -> Tensor:
        shares = outputs.new_tensor(self.shares).reshape(-1, *[1] * (outputs.dim() - 1))
        if self.mean == "logits":
            return (shares * outputs).sum(0)
        return (outputs.log_softmax(2) + shares.log()).logsumexp(0)

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
            "shares": list(self.shares),
        }


def selected(said: Float[Tensor, "M N"]) -> list[float]:
    """Shares of the members whose mean probability of the right class has the lowest negative log-likelihood.

    Arguments:
        said: each member's probability of each row's class.
    """
    floor = torch.finfo(said.dtype).tiny
    taken, total = torch.zeros(len(said)), torch.zeros_like(said[0])
    for count in range(1, ROUNDS + 1):
        losses = -((total + said) / count).clamp(min=floor).log().mean(1)
        best = int(losses.argmin())
        taken[best] += 1
        total = total + said[best]
    return (taken / ROUNDS).tolist()
