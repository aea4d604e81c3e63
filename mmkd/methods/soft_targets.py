"""Knowledge distillation: the student learns the teacher's softened outputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.losses import soft_targets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class SoftTargets(Method):
    """KL divergence of softened class probabilities, times T squared; the mean over samples and positions.

    Classes stand on the channel axis of a declared layout, else on axis 1.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        temperature: T > 0.
        output: the output that holds the logits, on both sides.
        mask: bool field of the data set that says which samples, or positions of each, count.

    Raises:
        ConfigError: a side lacks the output, shapes or classes differ, or the temperature is not positive.
    """

    citation = (
        "Hinton et al. 2015, Distilling the Knowledge in a Neural Network, arXiv 1503.02531, section 2: eq. 1, T^2"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        temperature: float = 4.0,
        output: str = "logits",
        mask: str | None = None,
    ) -> None:
        super().__init__(student, sources)
        if not temperature > 0:
            raise ConfigError(f"soft-targets: temperature = {temperature} is not positive")
        self.source, self.temperature, self.output, self.mask = source, temperature, output, mask
        mine = _output(student, output, "the student")
        theirs = _output(specs_of(sources, source), output, f"source '{source}'")
        layouts = [spec.layout for spec in (mine, theirs) if spec.layout]
        self.axis = layouts[0].channel_axis if layouts else 1
        if mine.shape != theirs.shape or len(set(layouts)) > 1:
            raise ConfigError(_difference(mine, theirs, self.axis - 1, output, source))

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said, taught = student.outputs[self.output], sources[self.source].outputs[self.output]
        mask = batch[self.mask] if self.mask else None
        return {"kl": soft_targets(said, taught, temperature=self.temperature, dim=self.axis, mask=mask)}


def _output(specs: Specs, name: str, owner: str) -> Spec:
    if name not in specs.outputs:
        known = ", ".join(specs.outputs) or "none"
        raise ConfigError(f"soft-targets: {owner} has no output '{name}' (outputs: {known})", 'set output = "..."')
    if not specs.outputs[name].shape:
        raise ConfigError(f"soft-targets: output '{name}' of {owner} has no class axis")
    return specs.outputs[name]


def _difference(mine: Spec, theirs: Spec, axis: int, output: str, source: str) -> str:
    """What keeps the two outputs apart, in one line."""
    what = f"soft-targets: output '{output}'"
    if len(mine.shape) == len(theirs.shape) and mine.shape[axis] != theirs.shape[axis]:
        return f"{what} has {mine.shape[axis]} classes in the student, {theirs.shape[axis]} in source '{source}'"
    return f"{what} is {mine} in the student, {theirs} in source '{source}'"
