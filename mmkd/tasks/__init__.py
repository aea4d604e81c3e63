"""Tasks: what is learnt."""

from mmkd.tasks.base import Task

__all__ = ["Task"]
