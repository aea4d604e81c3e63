"""A plugin written from scratch, installed with pip into a folder of its own, and used with no change to the core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "mmkd-stranger"
version = "0.3"
dependencies = ["mmkd>=0.1"]
[project.entry-points."mmkd.datasets"]
"stranger/rings" = "mmkd_stranger:Rings"
[project.entry-points."mmkd.models"]
"stranger/net" = "mmkd_stranger:Net"
"stranger/tree" = "mmkd_stranger:Tree"
[project.entry-points."mmkd.methods"]
"stranger/cosine" = "mmkd_stranger:Cosine"
[project.entry-points."mmkd.adapters"]
"stranger/bev" = "mmkd_stranger:Grid"
[project.entry-points."mmkd.recipes"]
"stranger/rings" = "mmkd_stranger:rings"
[tool.hatch.build.targets.wheel]
packages = ["mmkd_stranger"]
"""

CODE = """
import numpy as np, torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from mmkd.adapters import Adapter, align
from mmkd.components import Use
from mmkd.data import Dataset, Field, Split
from mmkd.estimators import Estimator
from mmkd.layouts import VECTOR, Layout
from mmkd.methods import Method

class Rings(Dataset):
    def __init__(self):
        g = torch.Generator().manual_seed(0)
        angle, r = 6.28 * torch.rand(600, generator=g), 1 + torch.arange(600) % 2 + 0.2 * torch.randn(600, generator=g)
        near, far = torch.stack([r * angle.cos(), r * angle.sin()], 1), torch.stack([r, r**2], 1)
        super().__init__({"near": Field((2,), layout="vector"), "far": Field((2,), layout="vector"),
                          "label": Field((), "int64", target=True, classes=("in", "out"))},
                         {"near": near, "far": far, "label": torch.arange(600) % 2})
    def split(self, seed):
        rows = torch.randperm(600, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:20], rows[20:300], rows[300:350], {"test": rows[350:]})

class Net(nn.Module):
    taps, layouts = {"hidden": "body"}, {"hidden": "vector"}
    def __init__(self, inputs, outputs, /, *, width: int = 16):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, width), nn.Tanh())
        self.head = nn.Linear(width, outputs["logits"][0])
    def forward(self, near):
        return self.head(self.body(near))

class Tree(Estimator):
    def fit(self, inputs, labels, signals, valid, query, *, seed):
        soft = next(iter(signals.values()))["logits"].argmax(1) if signals else labels["label"]
        known = np.ones(len(soft), bool) if signals else labels["labelled"]
        self.threshold = DecisionTreeClassifier(max_depth=3, random_state=seed).fit(inputs["x"][known], soft[known])
    def predict(self, inputs):
        return {"logits": np.log(self.threshold.predict_proba(inputs["x"]) + 1e-6).astype(np.float32)}
    def state(self):
        return {}

class Grid(Adapter):
    source, target = Layout("strange", "B C X"), VECTOR
    def forward(self, feature):
        return feature.flatten(1)

class Cosine(Method):
    citation = "this test"
    def __init__(self, student, sources, /, *, role: str = "hidden", adapter: Use.adapters | None = None):
        super().__init__(student, sources, reads={"student": {role}, "teacher": {role}})
        self.role, self.adapter = role, align(student.feature(role), sources["teacher"].feature(role), adapter)
    def forward(self, student, sources, batch):
        mine, theirs = self.adapter(student.features[self.role]), sources["teacher"].features[self.role]
        return {"cosine": 1 - nn.functional.cosine_similarity(mine, theirs).mean()}
"""

RECIPE = """
seeds = 2
dataset = { use = "stranger/rings" }
task = { use = "classification" }
student = { use = "stranger/net", width = 8 }
[sources.teacher]
model = { use = "stranger/net", width = 32, inputs = { near = "far" } }
[[methods]]
use = "soft-targets"
[[methods]]
use = "stranger/cosine"
[training]
steps = 60
batch_size = 100
lr = 0.02
labelled_batch = 20
[evaluation]
controls = ["shuffled-teacher", "restricted-teacher"]
[arms.tree]
student = { use = "stranger/tree", inputs = { x = "near" } }
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The plugin's folder after `pip install`, and an environment that sees it."""
    root = tmp_path_factory.mktemp("stranger")
    package = root / "source" / "mmkd_stranger"
    package.mkdir(parents=True)
    (root / "source" / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (package / "__init__.py").write_text(CODE, encoding="utf-8")
    (package / "rings.toml").write_text(RECIPE, encoding="utf-8")
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(root / "site")]
    subprocess.run([sys.executable, "-m", "pip", *install, str(root / "source")], check=True, capture_output=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "site"),
        "OMP_NUM_THREADS": "1",
        "MMKD_STATE": str(root / "state"),
    }
    return root, environment


def mmkd(installed: tuple[Path, dict[str, str]], *arguments: str) -> str:
    root, environment = installed
    done = subprocess.run(
        [sys.executable, "-m", "mmkd", *arguments], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_stays_within_sixty_lines():
    assert len(CODE.strip().splitlines()) <= 60


def test_list_and_explain(installed):
    listed = json.loads(mmkd(installed, "list", "--json"))
    names = {entry["name"] for entry in (listed if isinstance(listed, list) else listed["components"])}
    assert {"stranger/net", "stranger/cosine", "stranger/bev", "stranger/rings"} <= names
    explained = json.loads(mmkd(installed, "explain", "stranger/rings", "--json"))
    assert explained["sources"]["teacher"]["models"][0]["reads"] == {"near": ["far"]}
    cosine = next(method for method in explained["methods"] if method["name"] == "cosine")
    assert cosine["alignment"][0]["steps"] == ["Linear"]


def test_run_has_a_module_arm_and_an_estimator_arm_and_exports(installed):
    root, _ = installed
    mmkd(installed, "run", "stranger/rings", "--out", "run")
    result = json.loads((root / "run" / "result.json").read_text())
    assert {"teacher", "alone", "distilled", "shuffled-teacher", "restricted-teacher", "tree"} <= set(result["arms"])
    assert {arm["status"] for arm in result["arms"].values()} == {"done"}
    assert {c["candidate"] for c in result["comparisons"]} >= {"distilled", "tree"}
    mmkd(installed, "export", "run")
    manifest = json.loads((root / "run" / "bundle" / "manifest.json").read_text())
    assert manifest["reads"] == ["near"]
    (root / "rows.csv").write_text("near.0,near.1\n0.9,0.1\n2.0,0.3\n", encoding="utf-8")
    assert "in" in mmkd(installed, "predict", "run/bundle", "rows.csv")
