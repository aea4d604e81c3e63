"""Every distribution as a wheel in an environment of its own, away from the source tree: lists, shows, runs, ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
EXAMPLE = ROOT / "examples" / "mmkd-plugin-example"
SHORT = ["training.steps=40", "evaluation.controls=[]", "arms={}"]
RUNS = {
    "graph/glnn": ["sources.teacher.training.steps=40"],
    "crossmodal/vision-to-imu": ["dataset.subjects=6", "dataset.trials=1", "sources.teacher.training.steps=60"],
    "medical/multi-to-t1ce": ["dataset.unlabelled=2", "dataset.valid=1", "dataset.test=2", "training.steps=100"],
    "symbolic/network-to-tree": [],
    "example/main": [],
}

# Recipes resolve, cards are found, and nothing of it stands outside the environment.
LOOK = """
import sys, mmkd
from mmkd import recipes, registry
from mmkd.data.cards import card_of
place = sys.prefix
assert mmkd.__file__.startswith(place), mmkd.__file__
for entry in registry.entries("recipes"):
    recipes.resolve(recipes.load(entry.name)[0])
cards = [card_of(entry.name) for entry in registry.entries("datasets")]
for entry in registry.entries():
    found = registry.load(entry)
    where = found if entry.kind == "recipes" else sys.modules[found.__module__].__file__
    assert str(where).startswith(place), entry
print(len(cards))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that has the wheels, and our dependencies without what is installed from the source tree."""
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    base = tmp_path_factory.mktemp("wheels")
    for folder in (*FOLDERS, EXAMPLE):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(base / "dist")]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    venv.create(base / "env", with_pip=False)
    python = base / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, *map(str, sorted((base / "dist").glob("*.whl")))], check=True)
    (site,) = (base / "env").glob("lib/python*/site-packages")
    # A path file inside another one's folder is not read, so links into the source tree are left behind.
    (site / "dependencies.pth").write_text("\n".join({path for path in sys.path if path.endswith("site-packages")}))
    (base / "elsewhere").mkdir()
    return base


@pytest.fixture(scope="module")
def call(environment):
    """Runs a command of the environment in an empty directory."""
    cache = {"XDG_CACHE_HOME": str(environment / "cache"), "MMKD_STATE": str(environment / "state")}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MMKD"))}

    def run(*command: str) -> str:
        program = environment / "env" / "bin" / command[0]
        done = subprocess.run(
            [program, *command[1:]],
            cwd=environment / "elsewhere",
            env={**kept, **cache, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_everything_is_listed_and_loads_from_the_wheels(call):
    listed = json.loads(call("mmkd", "list", "--json"))
    assert listed["problems"] == []
    owners = {entry["distribution"] for entry in listed["components"]}
    assert owners == {"mmkd", "mmkd-graph", "mmkd-crossmodal", "mmkd-medical", "mmkd-symbolic", "mmkd-example"}
    assert int(call("python", "-c", LOOK)) >= 20


@pytest.mark.parametrize("recipe", RUNS)
def test_a_run_is_exported_and_predicts(recipe, call, environment):
    changes = [part for change in [*SHORT, *RUNS[recipe]] for part in ("--set", change)]
    out = recipe.replace("/", "-")
    call("mmkd", "run", recipe, "--seeds", "1", "--out", out, *changes)
    assert (environment / "elsewhere" / out / "report.html").is_file()
    call("mmkd", "export", out)
    call("mmkd", "verify", f"{out}/bundle")
    stored = np.load(environment / "elsewhere" / out / "bundle" / "examples.npz")
    inputs = {name.removeprefix("inputs/"): stored[name] for name in stored if name.startswith("inputs/")}
    np.savez(environment / "elsewhere" / f"{out}.npz", **inputs)
    said = json.loads(call("mmkd", "predict", f"{out}/bundle", f"{out}.npz", "--json"))
    assert len(said["predictions"]) == len(next(iter(inputs.values())))
