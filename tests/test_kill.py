"""Kill -9 at random moments, resume: the end is bit-equal to the run that was left alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmkd import recipes
from tests.moons import moons, recipe

__all__ = ["moons"]
RECIPE = recipe(
    seeds=1,
    training={
        "steps": 400,
        "batch_size": 32,
        "lr": 0.02,
        "log_every": 5,
        "evaluate_every": 7,
        "checkpoint_seconds": 0.01,
    },
)


def command(out: str) -> list[str]:
    return [sys.executable, "-m", "mmkd", "run", "recipe.toml", "--out", out]


def kills(wanted: int, first: float, spread: float, seed: int) -> int:
    """Run until it ends by itself, with `wanted` kills at random moments on the way; gives the kills that hit."""
    generator, hit = random.Random(seed), 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    while True:
        with subprocess.Popen(
            command("killed"), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            if hit < wanted:
                started = time.monotonic()
                while (
                    not Path("killed/seeds/0").exists() and process.poll() is None and time.monotonic() - started < 60
                ):
                    time.sleep(0.01)
                time.sleep(first + spread * generator.random())
                if process.poll() is None:
                    process.kill()
                    hit += 1
                    continue
            _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint.decode()
        return hit


def same_weights(arms: tuple[str, ...]) -> None:
    for arm in arms:
        name = "model0/weights" if arm == "teacher" else "weights"
        one, other = (load_file(f"{root}/seeds/0/{arm}/{name}.safetensors") for root in ("whole", "killed"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), arm


def compare(wanted: int) -> None:
    Path("recipe.toml").write_text(recipes.to_toml(RECIPE), encoding="utf-8")
    subprocess.run(command("whole"), env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    assert kills(wanted, 0.0, 1.5, seed=wanted) > 0
    same_weights(("teacher", "alone", "distilled"))
    one, other = (json.loads(Path(root, "result.json").read_text()) for root in ("whole", "killed"))
    assert one["comparisons"] == other["comparisons"]
    lines = [Path(root, "seeds/0/distilled/metrics.jsonl").read_text() for root in ("whole", "killed")]
    assert lines[0] == lines[1]  # no line twice, none lost


def test_two_kills(moons):
    compare(2)


@pytest.mark.slow
def test_twenty_kills(moons):
    compare(20)
