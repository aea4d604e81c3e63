"""Components that break one rule each."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from mmkd.adapters import Adapter
from mmkd.data import Dataset, Field, Split
from mmkd.layouts import VECTOR, Spec
from mmkd.methods import Method

counter = itertools.count(1)


class Sound(Method):
    """Breaks none: the squared difference of outputs."""

    citation = "Ba and Caruana 2014, arXiv 1312.6184"

    def forward(self, student, sources, batch):
        return {"gap": (student.logits - sources["teacher"].logits).square().mean()}


class Uncited(Sound):
    """Says no source."""

    citation = ""


class Undocumented(Sound):
    pass


class NotScalar(Sound):
    """Its loss is a vector."""

    def forward(self, student, sources, batch):
        return {"gap": (student.logits - sources["teacher"].logits).square().mean(1)}


class Random(Sound):
    """Its loss depends on how often it was asked."""

    def forward(self, student, sources, batch):
        return {"gap": next(counter) * (student.logits - sources["teacher"].logits).square().mean()}


class Keeps(Sound):
    """Holds an adapter that its loss does not use."""

    def __init__(self, student, sources, /):
        super().__init__(student, sources)
        self.adapter = nn.Linear(3, 3)


class Detached(Keeps):
    """Its loss reaches its own layer and not the student."""

    def forward(self, student, sources, batch):
        return {"gap": self.adapter(student.logits.detach()).square().mean()}


class Grabs(Sound):
    """Changes the teacher, and registers it."""

    def prepare(self, view, sources):
        teacher = sources["teacher"].knowledge.models[0]
        with torch.no_grad():
            next(teacher.parameters()).add_(1.0)
        self.teacher = teacher
        return {}


class Lies(Adapter):
    """Announces the teacher's form and gives the student's."""

    source = target = VECTOR
    automatic = False

    def forward(self, feature):
        return feature


class Straddles(Dataset):
    """Its subjects are in several parts, and it differs from build to build; it has no card."""

    def __init__(self):
        x = torch.full((40, 2), float(next(counter)))
        fields = {"x": Field((2,)), "label": Field((), "int64", target=True, classes=("a", "b"))}
        super().__init__(fields, {"x": x, "label": torch.arange(40) % 2}, groups=torch.arange(40) // 4)

    def split(self, seed):
        rows = torch.arange(40)
        return Split(rows[:6], rows[6:14], rows[14:26], {"test": rows[26:]})


class Wrong(nn.Module):
    """One output too many, and other weights in each build."""

    def __init__(self, inputs, outputs, /, *, width: int = 4):
        super().__init__()
        self.body = nn.Linear(6, outputs["logits"][0] + 1)
        nn.init.constant_(self.body.bias, next(counter))

    def forward(self, x):
        return self.body(x)


__all__ = ["Spec"]
