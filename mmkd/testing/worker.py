"""Trains one arm of a recipe for seed 0, alone or under `torchrun`: python -m mmkd.testing.worker RECIPE ARM FOLDER."""

import sys
from pathlib import Path

from mmkd import distributed, recipes
from mmkd.evaluation.arms import plans
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.job import Job

if __name__ == "__main__":
    recipe, arm, folder = sys.argv[1:]
    with distributed.process_group():
        loaded, _ = recipes.load(recipe)
        plan = next(plan for plan in plans(loaded) if plan.name == arm)
        Job(Experiment(loaded), plan, 0, Path(folder), sealed=True).run()
