"""A small data set with a field that only the teacher reads: for tests of runs, arms and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkd import registry
from mmkd.data import Dataset, Field, Split
from tests.registry.fakes import install

ROWS = 240


class Moons(Dataset):
    """`near` tells the class in part, `far` tells it all; 12 labels, 40 validation and 80 test rows.

    Arguments:
        broken: put a NaN into a training row of `near` after the check that data sets make.
        informative: False leaves labels independent of every field.
        subjects: rows of one test unit; 1: each row is its own.
    """

    def __init__(self, *, broken: bool = False, informative: bool = True, subjects: int = 1) -> None:
        g = torch.Generator().manual_seed(0)
        label = torch.arange(ROWS) % 2
        clear = label if informative else torch.randint(0, 2, (ROWS,), generator=g)
        near = torch.randn(ROWS, 4, generator=g) + clear[:, None] * 0.8
        far = torch.stack([clear.float() * 2 - 1, torch.randn(ROWS, generator=g)], 1)
        fields = {
            "near": Field((4,), layout="vector"),
            "far": Field((2,), layout="vector"),
            "label": Field((), "int64", target=True, classes=("a", "b")),
        }
        groups = torch.arange(ROWS) // subjects if subjects > 1 else None
        super().__init__(
            fields,
            {"near": near, "far": far, "label": label},
            groups=groups,
            unit="subject" if subjects > 1 else "sample",
        )
        if broken:
            self.samples["near"][self.split(0).unlabelled[0]] = float("nan")

    def split(self, seed: int) -> Split:
        rows: Tensor = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:12], rows[12:120], rows[120:160], {"test": rows[160:]})


def recipe(**changes: Any) -> dict[str, Any]:
    """Teacher on `near` and `far`, student on `near`; seconds for two seeds."""
    return {
        "name": "moons",
        "seeds": 2,
        "dataset": {"use": "moons/moons"},
        "task": {"use": "classification", "weight": 0.5},
        "student": {"use": "mlp", "hidden": 8, "dropout": 0.1, "inputs": {"x": "near"}},
        "sources": {
            "teacher": {
                "model": {"use": "mlp", "hidden": 8, "inputs": {"x": ["near", "far"]}},
                "training": {"steps": 40, "lr": 0.05},
            }
        },
        "methods": [{"use": "soft-targets", "temperature": 2.0}],
        "training": {"steps": 30, "batch_size": 32, "lr": 0.02, "log_every": 10},
        "evaluation": {"latency": False},
        **changes,
    }


@pytest.fixture
def moons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installs the data set; the ledger of unsealings and the working folder are the test's own."""
    root = tmp_path / "plugins"
    root.mkdir()
    install(root, "mmkd-moons", {"datasets": {"moons/moons": "tests.moons:Moons"}})
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", f"{root}:{Path(__file__).parents[1]}")
    monkeypatch.chdir(tmp_path)
    registry.refresh()
    yield tmp_path
    monkeypatch.undo()
    registry.refresh()
