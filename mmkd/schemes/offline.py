"""Offline distillation: frozen sources teach one student."""

from __future__ import annotations

from mmkd.schemes.base import Parts, Scheme, Stage


class Offline(Scheme):
    """One stage with one update: the student learns the task and from every source."""

    def stages(self, parts: Parts, /) -> list[Stage]:
        return [Stage({"student": parts.update("student", parts.sources)})]
