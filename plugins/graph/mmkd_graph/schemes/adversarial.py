"""`graph/adversarial`: methods that bring an adversary, which learns against the student in an update of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.methods.base import Method
from mmkd.schemes.base import Parts, Scheme, Stage, Update
from mmkd.signals import Signals
from mmkd.sources.base import Call, Source


class Opposed(Method):
    """A method whose student is judged by a module that learns against it.

    Subclasses build the module, hand it to `oppose`, use it in `forward` as `self.adversary`, and give its own losses
    in `judge`. The module is no part of the method: the student's update does not train it.

    Attributes:
        faced: whether a scheme lets the adversary learn.
    """

    faced = False

    def oppose(self, adversary: nn.Module) -> None:
        """Keep the adversary, out of the module tree."""
        self._adversary = (adversary,)

    @property
    def adversary(self) -> Any:
        """Raises `ConfigError` where nothing lets it learn: what it says would mean nothing."""
        if not self.faced:
            raise ConfigError(
                f"{type(self).__name__}: its adversary does not learn", 'scheme = { use = "graph/adversarial" }'
            )
        return self._adversary[0]

    def judge(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        """Named losses of the adversary; nothing of the student has a gradient."""
        raise NotImplementedError


class Adversaries(Update):
    """What the adversaries of some methods learn.

    Arguments:
        methods: by name.
        sources: by name.
        learner: the model that they judge.
    """

    def __init__(self, methods: Mapping[str, Opposed], sources: Mapping[str, Source], learner: str) -> None:
        super().__init__(trains=(), sources=sources)
        for method in methods.values():
            method.faced = True
        self.adversaries = nn.ModuleDict({name: method.adversary for name, method in methods.items()})
        self.judges = [(name, method.judge) for name, method in methods.items()]
        self.learner = learner

    def forward(self, batch: Batch, call: Call, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            student = call(batch, self.learner)
        said = {name: source.signals(batch, student, call).detach() for name, source in self.sources.items()}
        losses = {
            f"{name}/{part}": loss for name, judge in self.judges for part, loss in judge(student, said, batch).items()
        }
        return {**losses, "loss": torch.stack(list(losses.values())).sum()}


class Adversarial(Scheme):
    """Two updates a step: first what the adversaries learn to tell apart, then the student, from all of the recipe's
    methods."""

    def stages(self, parts: Parts, /) -> list[Stage]:
        """Raises `ConfigError` where no method brings an adversary."""
        student = parts.update("student", parts.sources)
        opposed = {name: method for name, method in student.methods.items() if isinstance(method, Opposed)}
        if not opposed:
            raise ConfigError(
                "graph/adversarial: no method brings an adversary", 'methods = [{ use = "graph/graphakd" }]'
            )
        return [Stage({"adversary": Adversaries(opposed, student.sources, "student"), "student": student})]
