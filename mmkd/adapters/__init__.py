"""Adapters: from a student feature to the teacher's space."""

from mmkd.adapters.base import Adapter, Chain, Identity
from mmkd.adapters.resolve import align

__all__ = ["Adapter", "Chain", "Identity", "align"]
