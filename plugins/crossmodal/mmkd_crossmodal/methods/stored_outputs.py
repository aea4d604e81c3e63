"""`crossmodal/stored-outputs`: outputs of a teacher, stored once, are the student's targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class StoredOutputs(Method):
    """EfficientAT's distillation: cross-entropy with the teacher's probabilities, beside a small weight for labels.

    Published: weight 0.9 here and 0.1 on the labels, temperature 1, mixup 0.3 of clips and of targets (the scheme
    `mixup`), and no loss for a clip that the teacher has said nothing of: a source with an output `known` (0 or 1 per
    clip, as `file` with `partial = true` has) says which. The mean is over all clips of the batch.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output with the logits, on both sides.
        form: `sigmoid`, for labels that do not exclude each other: binary cross-entropy per class; `softmax`: KL.
        temperature: T > 0 of the teacher, and in `softmax` of the student too.

    Raises:
        ConfigError: a side lacks the output, sizes differ, or the temperature is not positive.
    """

    citation = (
        "Schmid et al. 2023, Efficient Large-scale Audio Tagging via Transformer-to-CNN KD, arXiv 2211.04772, sec. 2"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        form: Literal["softmax", "sigmoid"] = "softmax",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(student, sources)
        for owner, specs in (("the student", student), (f"source '{source}'", specs_of(sources, source))):
            if output not in specs.outputs:
                raise ConfigError(f"stored-outputs: {owner} has no output '{output}'", 'set output = "..."')
        mine, theirs = student.outputs[output].shape, sources[source].outputs[output].shape
        if mine != theirs:
            raise ConfigError(
                f"stored-outputs: '{output}' is {list(mine)} in the student, {list(theirs)} in '{source}'"
            )
        if not temperature > 0:
            raise ConfigError(f"stored-outputs: temperature = {temperature} is not positive")
        self.source, self.output, self.form, self.temperature = source, output, form, temperature

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = sources[self.source]
        mine, theirs = student.outputs[self.output].float(), said.outputs[self.output].float()
        known = said.outputs.get("known", theirs.new_ones(len(theirs)))
        share = known.mean()
        if self.form == "softmax":
            return {"kl": share * soft_targets(mine, theirs, temperature=self.temperature, weights=known)}
        each = F.binary_cross_entropy_with_logits(mine, (theirs / self.temperature).sigmoid(), reduction="none")
        return {"bce": (each.mean(1) * known).mean()}
