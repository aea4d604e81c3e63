"""mmkd: distil across modalities and graphs, prove whether it helped, ship a student that needs one sensor.

Importing this imports no torch; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "Batch": "mmkd.data.views",
    "Bound": "mmkd.binding",
    "Dataset": "mmkd.data.datasets",
    "Field": "mmkd.data.fields",
    "LazyDataset": "mmkd.data.datasets",
    "Method": "mmkd.methods.base",
    "Run": "mmkd.evaluation.finished",
    "Signals": "mmkd.signals",
    "Source": "mmkd.sources.base",
    "Split": "mmkd.data.datasets",
    "Step": "mmkd.training.step",
    "Task": "mmkd.tasks.base",
    "View": "mmkd.data.views",
    "distil": "mmkd.training.distil",
    "explain": "mmkd.evaluation.explain",
    "export": "mmkd.deployment.export",
    "run": "mmkd.evaluation.run",
}
__all__ = [
    "Batch",
    "Bound",
    "Dataset",
    "Field",
    "LazyDataset",
    "Method",
    "Run",
    "Signals",
    "Source",
    "Split",
    "Step",
    "Task",
    "View",
    "__version__",
    "distil",
    "explain",
    "export",
    "run",
]

if TYPE_CHECKING:
    from mmkd.binding import Bound
    from mmkd.data.datasets import Dataset, LazyDataset, Split
    from mmkd.data.fields import Field
    from mmkd.data.views import Batch, View
    from mmkd.deployment.export import export
    from mmkd.evaluation.explain import explain
    from mmkd.evaluation.finished import Run
    from mmkd.evaluation.run import run
    from mmkd.methods.base import Method
    from mmkd.signals import Signals
    from mmkd.sources.base import Source
    from mmkd.tasks.base import Task
    from mmkd.training.distil import distil
    from mmkd.training.step import Step


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'mmkd' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
