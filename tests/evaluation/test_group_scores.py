"""A metric of whole groups: judged, selected and compared by group, and never taken apart into samples."""

import numpy as np
import pytest

from mmkd import registry
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_records
from mmkd.evaluation.scores import score
from mmkd.files import read_json
from mmkd.tasks.classification import Classification
from tests.moons import moons, recipe
from tests.registry.fakes import install

__all__ = ["moons"]


class Cubed(Classification):
    """The mean over groups of their accuracy's third power, which is no mean over samples."""

    primary = "cubed"

    def unit_scores(self, records):
        return None

    def group_scores(self, records, groups):
        right = records[self.output].argmax(1) == records[self.target]
        return np.array([right[groups == group].mean() ** 3 for group in np.unique(groups)])

    def metrics(self, records, groups=None):
        return {**super().metrics(records, groups), "cubed": float(self.group_scores(records, groups).mean())}


@pytest.fixture
def cubed(moons):
    install(moons / "plugins", "mmkd-cubed", {"tasks": {"cubed/cubed": f"{__name__}:Cubed"}})
    registry.refresh()
    return moons


def test_groups_are_compared(cubed):
    changed = recipe(seeds=2, task={"use": "cubed/cubed"}, dataset={"use": "moons/moons", "subjects": 5})
    done = run(changed, directory=cubed / "run")
    (comparison,) = (c for c in done.result["comparisons"] if c["candidate"] == "distilled")
    scores = {}
    for arm in ("distilled", "alone"):
        for seed in (0, 1):
            folder = cubed / "run" / "seeds" / str(seed) / arm
            records = load_records(folder / "test.npz")
            groups = records["index"] // 5
            right = records["logits"].argmax(1) == records["label"]
            by_hand = {group: right[groups == group].mean() ** 3 for group in np.unique(groups)}
            scores[arm, seed] = by_hand
            assert np.isclose(read_json(folder / "job.json")["test"]["cubed"], np.mean(list(by_hand.values())))
    tested = {group for key in scores for group in scores[key]}
    assert comparison["n_units"] == len(tested)
    apart = [
        np.mean(list(scores["distilled", s].values())) - np.mean(list(scores["alone", s].values())) for s in (0, 1)
    ]
    assert np.isclose(comparison["difference"], np.mean(apart))


def test_score_is_the_mean_over_groups():
    records = {"logits": np.array([[1, 0], [0, 1], [0, 1], [0, 1.0]]), "label": np.array([0, 0, 1, 1])}
    task = Cubed.__new__(Cubed)
    task.output, task.target = "logits", "label"
    assert score(task, records, np.array([7, 7, 3, 3])) == pytest.approx((1 / 8 + 1) / 2)
