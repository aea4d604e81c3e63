"""A loss across the batch: a camera's embedding finds the lidar's of the same moment among all others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from mmkd.adapters import align
from mmkd.data import Dataset, Field, Split
from mmkd.distributed import gather_rows
from mmkd.layouts import VECTOR, Spec, Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------


class Drives(Dataset):
    """Two sensors that see the same eight moments of each of fifteen drives."""

    def __init__(self):
        draws = torch.Generator().manual_seed(0)
        label = torch.randint(0, 3, (120,), generator=draws)
        scene = F.one_hot(label, 3).float() + 0.3 * torch.randn(120, 3, generator=draws)
        camera = torch.cat([scene + torch.randn(120, 3, generator=draws), torch.randn(120, 2, generator=draws)], 1)
        fields = {
            "camera": Field((5,), layout="vector"),
            "lidar": Field((3,), layout="vector"),
            "label": Field((), "int64", target=True, classes=("car", "bus", "tram")),
        }
        super().__init__(
            fields, {"camera": camera, "lidar": scene, "label": label}, groups=torch.arange(120) // 8, unit="drive"
        )

    def split(self, seed):
        drives = torch.randperm(15, generator=torch.Generator().manual_seed(seed))
        a, b, c, d = ((8 * part[:, None] + torch.arange(8)).flatten() for part in drives.split([3, 3, 3, 6]))
        return Split(a, b, c, {"test": d})


class InfoNCE(Method):
    """Cross-entropy of each row's own pair among the pairs of the batch, of all processes together.

    van den Oord et al. 2018, arXiv 1807.03748, equation 4. A row that a batch holds twice is not its own negative.
    """

    def __init__(self, student, sources, /, *, role: str = "penultimate", temperature: float = 0.2):
        super().__init__(student, sources, reads={"student": {role}, "teacher": {role}})
        self.role, self.temperature = role, temperature
        self.adapter = align(student.feature(role), specs_of(sources, "teacher").feature(role))

    def forward(self, student, sources, batch):
        mine = F.normalize(gather_rows(self.adapter(student.features[self.role])))
        theirs = F.normalize(gather_rows(sources["teacher"].features[self.role]))
        ids = gather_rows(batch.index)
        own = torch.arange(len(ids))
        same = (ids[:, None] == ids) & (own[:, None] != own)
        return {"nce": F.cross_entropy((mine @ theirs.T / self.temperature).masked_fill(same, -torch.inf), own)}


def recipe(plugin):
    return {
        "name": "fake/contrastive",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/drives", f"{__name__}:Drives")},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "inputs": {"x": "camera"}, "hidden": 6},
        "sources": {
            "teacher": {
                "model": {"use": "mlp", "inputs": {"x": "lidar"}, "hidden": 10},
                "training": {**TRAINING, "steps": 40},
            }
        },
        "methods": [
            {
                "use": plugin("methods", "fake/info-nce", f"{__name__}:InfoNCE"),
                "name": "nce",
                "weight": {"start": 0.0, "end": 1.0, "steps": 10},
            }
        ],
        "training": {**TRAINING, "labelled_batch": 16},
        "evaluation": {"controls": ["hard-teacher", "shuffled-teacher", "permuted-teacher", "restricted-teacher"]},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_a_contrastive_method_passes_through(plugin, tmp_path):
    passage = bring_through(recipe(plugin), tmp_path)
    arms = passage.run.result["arms"]
    assert all(arm["status"] == "done" for arm in arms.values())
    assert passage.bundle.reads == ("camera",)
    comparison = next(c for c in passage.run.result["comparisons"] if c["candidate"] == "distilled")
    tested = {row // 8 for seed in (0, 1) for row in passage.records("alone", seed)["index"]}
    assert (comparison["unit"], comparison["n_units"]) == ("drive", len(tested))
    # The adapter learns, is in the checkpoint, and ships with nobody.
    folder = passage.run.directory / "seeds" / "0" / "distilled"
    assert sorted(load_file(folder / "weights.safetensors")) == sorted(passage.student().module.state_dict())
    saved = [load_file(path / "tensors.safetensors") for path in sorted((folder / "checkpoints").glob("step_*"))]
    before, after = (one["step/updates.student.methods.nce.adapter.project.weight"] for one in saved)
    assert before.shape == (10, 6)
    assert not torch.equal(before, after)


def test_rows_that_repeat_are_no_negatives():
    specs = Specs(features={"penultimate": Spec(VECTOR, (4,))})
    method = InfoNCE(specs, {"teacher": specs})
    mine, theirs, ids = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([7, 8, 7, 9, 8])
    student, teacher = (Signals({}, {"penultimate": value}) for value in (mine, theirs))
    said = method(student, {"teacher": teacher}, SimpleNamespace(index=ids))
    expected = []
    for i in range(5):
        near = F.cosine_similarity(mine[i], theirs) / 0.2
        kept = [j for j in range(5) if j == i or ids[j] != ids[i]]
        expected.append(near[kept].logsumexp(0) - near[i])
    assert np.isclose(said["nce"], torch.stack(expected).mean(), atol=1e-6)
