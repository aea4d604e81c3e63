"""Attention transfer: the student's feature maps are strong where the teacher's are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkd.adapters.map import resize
from mmkd.data.views import Batch
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import Spec, Specs
from mmkd.losses import attention_transfer
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class AttentionTransfer(Method):
    """Squared difference of normalised attention maps, one loss per role.

    Roles are those of features with channels on axis 1 and positions after it: maps, volumes, bird's-eye views, series.
    Where the two sides differ in size, the larger is resized to the smaller, axis by axis: bilinearly, antialiased.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        roles: taps, by the same role on both sides; all that both sides share and that have one layout where left out.
        power: exponent of the activations, 1 or more.

    Raises:
        LayoutError: a tap does not exist or is no map, the layouts differ, or the two sides share none.
        ConfigError: the power is below 1.
    """

    citation = "Zagoruyko and Komodakis 2017, Paying More Attention to Attention, arXiv 1612.03928, section 3.1: eq. 2"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        roles: tuple[str, ...] = (),
        power: float = 2.0,
    ) -> None:
        if not power >= 1:
            raise ConfigError(f"attention-transfer: power = {power} is below 1")
        teacher = specs_of(sources, source)
        for role in roles:
            _check(role, student.feature(role, "the student"), teacher.feature(role, f"source '{source}'"), source)
        shared = [role for role, spec in student.features.items() if _shared(spec, teacher.features.get(role))]
        chosen = tuple(dict.fromkeys(roles or shared))
        if not chosen:
            raise LayoutError(
                f"attention-transfer: the student (taps: {_listing(student)}) and source '{source}' (taps: "
                f"{_listing(teacher)}) share no map",
                "give a tap the same role on both sides",
            )
        super().__init__(student, sources, reads={"student": set(chosen), source: set(chosen)})
        self.source, self.roles, self.power = source, chosen, power

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        losses = {}
        for role in self.roles:
            mine, theirs = student.features[role], sources[self.source].features[role]
            sizes = [min(pair) for pair in zip(mine.shape[2:], theirs.shape[2:], strict=True)]
            losses[role] = attention_transfer(resize(mine, sizes), resize(theirs, sizes), power=self.power)
        return losses


def _is_map(spec: Spec) -> bool:
    return spec.layout is not None and spec.layout.rank > 2 and spec.layout.channel_axis == 1


def _shared(mine: Spec, theirs: Spec | None) -> bool:
    return theirs is not None and _is_map(mine) and mine.layout == theirs.layout


def _check(role: str, mine: Spec, theirs: Spec, source: str) -> None:
    for spec, owner in ((mine, "the student"), (theirs, f"source '{source}'")):
        spec.known_layout()
        if not _is_map(spec):
            raise LayoutError(
                f"attention-transfer: tap '{role}' of {owner} is {spec}, not a map", "tap an earlier module"
            )
    if mine.layout != theirs.layout:
        raise LayoutError(f"attention-transfer: tap '{role}' is {mine} in the student, {theirs} in source '{source}'")


def _listing(specs: Specs) -> str:
    return ", ".join(f"{role} {spec}" for role, spec in specs.features.items()) or "none"
