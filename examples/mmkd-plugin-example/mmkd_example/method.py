"""`example/cosine`: the direction of a feature, and not its length."""

from collections.abc import Mapping
from typing import ClassVar

from mmkd.adapters import align
from mmkd.components import Use
from mmkd.data import Batch
from mmkd.layouts import Specs
from mmkd.methods import Method
from mmkd.methods.base import specs_of
from mmkd.signals import Signals
from torch import Tensor
from torch.nn.functional import cosine_similarity


class Cosine(Method):
    """One minus the cosine between the teacher's feature and the adapted one of the student, averaged over rows.

    Arguments:
        student, sources: measured forms.
        source: which source teaches.
        role: the tap that both have.
        adapter: in place of the one that the layouts ask for.
    """

    citation: ClassVar[str] = "Romero et al. 2015, arXiv 1412.6550: hints, with the cosine for the squared distance"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "penultimate",
        adapter: Use.adapters | None = None,
    ) -> None:
        super().__init__(student, sources, reads={"student": {role}, source: {role}})
        self.source, self.role = source, role
        self.adapter = align(student.feature(role), specs_of(sources, source).feature(role), adapter)

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        mine = self.adapter(student.features[self.role])
        theirs = sources[self.source].features[self.role]
        return {"cosine": (1 - cosine_similarity(mine, theirs)).mean()}
