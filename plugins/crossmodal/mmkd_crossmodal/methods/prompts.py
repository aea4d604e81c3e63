"""`crossmodal/prompts`: the teacher's class prompts become the student's class vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd.sources.base import Source
from mmkd.sources.live import Live


class Prompts(Method):
    """Before training, the student takes over the embeddings of the class prompts, and keeps them as constants.

    As zero-shot classifiers are made of a text tower (Radford et al. 2021, arXiv 2103.00020, section 3.1.2), and as
    SimKD (Chen et al. 2022, arXiv 2203.14001) reuses the teacher's classifier. It adds no loss: other methods bring the
    student's embeddings to where the teacher's are.

    Arguments:
        student, sources: measured forms.
        source: whose prompts; one live model with `class_vectors`.
    """

    citation = "Radford et al. 2021, arXiv 2103.00020, section 3.1.2; classifier reuse as in SimKD, arXiv 2203.14001"

    def __init__(self, student: Specs, sources: Mapping[str, Specs], /, *, source: str = "teacher") -> None:
        super().__init__(student, sources)
        specs_of(sources, source)
        self.source = source

    def adopt(self, student: nn.Module, sources: Mapping[str, Source]) -> None:
        source: Any = sources[self.source]
        module: Any = source.model.module if isinstance(source, Live) else None
        learner: Any = student
        if not hasattr(module, "class_vectors"):
            raise ConfigError(f"prompts: source '{self.source}' is no live model with class vectors")
        if not hasattr(learner, "adopt"):
            raise ConfigError(f"prompts: a {type(student).__name__} takes over no class vectors")
        constants = source.knowledge.dataset.constants
        read = {
            parameter: constants[names[0]]
            for parameter, names in source.model.binding.inputs.items()
            if names[0] in constants
        }
        with torch.no_grad():
            learner.adopt(module.class_vectors(**read))

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        return {}
