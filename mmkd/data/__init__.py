"""Data: fields, data sets, splits, views, loaders, cards, downloads.

Importing this imports no torch, so that cards and the data root can be read quickly; each name is loaded when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmkd.data.datasets import Dataset, LazyDataset, Split
    from mmkd.data.fields import Field, OutputSpec
    from mmkd.data.views import Batch, View

__all__ = ["Batch", "Dataset", "Field", "LazyDataset", "OutputSpec", "Split", "View"]
_PLACES = {
    "Batch": "views",
    "Dataset": "datasets",
    "Field": "fields",
    "LazyDataset": "datasets",
    "OutputSpec": "fields",
    "Split": "datasets",
    "View": "views",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'mmkd.data' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"mmkd.data.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
