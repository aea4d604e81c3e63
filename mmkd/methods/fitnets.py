"""FitNets: a feature of the student, adapted, approaches the teacher's."""

from collections.abc import Mapping

from torch import Tensor

from mmkd.adapters import align
from mmkd.components import Use
from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.losses import fitnets
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals


class FitNets(Method):
    """Mean squared difference between the adapted student feature and the teacher's.

    The paper trains by the hint alone first and by soft targets then; here the hint is one term of a sum, as in most
    work since, and a scheme or a weight schedule can part them.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        student_role: the student's tap.
        teacher_role: the teacher's tap; the same role where left out.
        adapter: an adapter to lead through, instead of the one that the layouts call for.
        mask: bool field of the data set that says which samples, or leading positions (tokens) of the teacher's
            feature, count.

    Raises:
        LayoutError: a tap does not exist, or no adapter joins the two.
    """

    citation = "Romero et al. 2015, FitNets: Hints for Thin Deep Nets, arXiv 1412.6550, section 2.2: eq. 3"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        student_role: str = "hint",
        teacher_role: str | None = None,
        adapter: Use.adapters | None = None,
        mask: str | None = None,
    ) -> None:
        taught = teacher_role or student_role
        super().__init__(student, sources, reads={"student": {student_role}, source: {taught}})
        self.source, self.student_role, self.teacher_role, self.mask = source, student_role, taught, mask
        theirs = specs_of(sources, source).feature(taught, f"source '{source}'")
        self.adapter = align(student.feature(student_role, "the student"), theirs, adapter)

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        adapted = self.adapter(student.features[self.student_role])
        taught = sources[self.source].features[self.teacher_role]
        return {"hint": fitnets(adapted, taught, mask=batch[self.mask] if self.mask else None)}
