"""Several trained models as one source."""

from __future__ import annotations

from typing import Literal

import torch

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd.sources.live import freeze, weights_hash


class Ensemble(Source):
    """The mean of several models' outputs; it has no features, since theirs live in different spaces.

    Arguments:
        mean: `probabilities` gives the logarithm of the mean softmax, `logits` the mean logits.
    """

    def __init__(self, knowledge: Knowledge, /, *, mean: Literal["probabilities", "logits"] = "probabilities") -> None:
        super().__init__(knowledge)
        if len(knowledge.models) < 2:
            raise ConfigError("source 'ensemble' takes two models or more", "list them: models = [{ use = ... }, ...]")
        self.models = [freeze(model) for model in knowledge.models]
        self.mean = mean
        self.relational = any(model.binding.relational for model in self.models)
        self.keep(set())

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        with torch.no_grad():
            said = [model.eval()(batch).outputs for model in self.models]
            return Signals({name: self._join(torch.stack([one[name].float() for one in said])) for name in said[0]})

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
        return {"ensemble": [weights_hash(model) for model in self.models], "mean": self.mean}
