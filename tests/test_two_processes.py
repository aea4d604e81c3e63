"""`torchrun` with two processes against one: equal where no dropout and no BatchNorm differ between them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mmkd import recipes
from tests.moons import moons, recipe

__all__ = ["moons"]


@pytest.mark.slow
def test_a_run_by_two_processes_equals_one(moons):
    few = {"steps": 8, "batch_size": 32, "lr": 0.5, "labelled_batch": 4}
    table = recipe(seeds=1, training=few, student={"use": "mlp", "hidden": 8, "inputs": {"x": "near"}})
    table["sources"]["teacher"]["training"] = few
    # Plain gradient steps: Adam would turn rounding errors of tiny gradients into steps of full size.
    for training in (table["training"], table["sources"]["teacher"]["training"]):
        training["optimiser"] = "sgd"
    Path("recipe.toml").write_text(recipes.to_toml(table), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "mmkd"]
    for launcher, out in (([sys.executable, "-m", "mmkd"], "one"), (two, "two")):
        command = [*launcher, "run", "recipe.toml", "--out", out]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    for arm in ("teacher/model0/weights", "alone/weights", "distilled/weights"):
        one, other = (load_file(f"{out}/seeds/0/{arm}.safetensors") for out in ("one", "two"))
        for name in one:
            assert (one[name] - other[name]).abs().max() <= 1e-6, (arm, name)
