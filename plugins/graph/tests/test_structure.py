"""Inputs made of edges: position features against the formula, and what hidden nodes may not do to them."""

import numpy as np
import pytest
import torch
from scipy import sparse

from mmkd.components import Factory
from mmkd.errors import ConfigError
from mmkd.evaluation.experiment import Experiment
from mmkd.recipes import check
from mmkd_graph.structure import netmf, position_features, smoothed_features

NONE = torch.empty(0, dtype=torch.long)


def dense(edges, nodes=7):
    return sparse.csr_array((np.ones(edges.shape[1]), edges.numpy()), shape=(nodes, nodes)).toarray()


def written_out(adjacency, window):
    """log max(1, M), factor by factor; rows of isolated nodes are 0."""
    degree = adjacency.sum(1)
    inverse = np.diag([1 / d if d else 0 for d in degree])
    walks = sum(np.linalg.matrix_power(inverse @ adjacency, r) for r in range(1, window + 1))
    return np.log(np.maximum(degree.sum() / window * walks @ inverse, 1))


@pytest.mark.parametrize("window", [1, 3])
def test_netmf(edge_index, window):
    adjacency = dense(edge_index)
    expected = written_out(adjacency, window)
    assert np.allclose(expected, expected.T)
    found = netmf(sparse.csr_array(adjacency), 6, window).astype(np.float64)
    left, values, _ = np.linalg.svd(expected)
    assert np.allclose(found @ found.T, (left * values) @ left.T, atol=1e-4)  # free of signs
    assert np.allclose(found[6], 0, atol=1e-6)  # the node without edges
    assert np.allclose((found**2).sum(0), np.sort(values)[::-1][:6], atol=1e-4)
    few = netmf(sparse.csr_array(adjacency), 2, window)
    assert np.allclose(np.abs(few), np.abs(found[:, :2]), atol=1e-4)
    assert np.array_equal(few, netmf(sparse.csr_array(adjacency), 2, window))


def test_rows_are_made_in_blocks(monkeypatch):
    ring = np.arange(30)
    adjacency = np.zeros((30, 30))
    adjacency[ring, (ring + 1) % 30] = adjacency[ring, (ring * 7) % 30] = 1
    adjacency = np.maximum(adjacency, adjacency.T) * (1 - np.eye(30))
    whole = netmf(sparse.csr_array(adjacency), 4)
    monkeypatch.setattr("mmkd_graph.structure._BLOCK", 7)
    assert np.allclose(whole, netmf(sparse.csr_array(adjacency), 4), atol=1e-5)


def test_limits(edge_index, monkeypatch):
    with pytest.raises(ConfigError, match="positions = 7: the graph has but 7 visible"):
        position_features(edge_index, 7, 7, NONE)
    monkeypatch.setattr("mmkd_graph.structure.LARGEST", 6)
    with pytest.raises(ConfigError, match="at most 6 nodes"):
        position_features(edge_index, 7, 2, NONE)


def test_hidden_positions(edge_index):
    """A hidden node changes nobody's position and gets the mean of its visible neighbours'."""
    hidden = torch.tensor([2, 6, 5])
    found = position_features(edge_index, 7, 2, hidden)
    keep = ~torch.isin(edge_index, hidden).any(0)
    seen = torch.tensor([0, 1, 3, 4])
    place = torch.full((7,), -1)
    place[seen] = torch.arange(4)
    alone = netmf(sparse.csr_array(dense(place[edge_index[:, keep]], 4)), 2)
    assert torch.equal(found[seen], torch.from_numpy(alone))
    torch.testing.assert_close(found[2], found[torch.tensor([0, 1, 3])].mean(0))
    torch.testing.assert_close(found[5], found[4])
    assert not found[6].any()


def test_smoothed(edge_index):
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    hidden = torch.tensor([2])

    def mean(edges):
        loops = torch.from_numpy(dense(edges)) + torch.eye(7)
        scale = torch.diag(loops.sum(1).rsqrt())
        step = (scale @ loops @ scale).float()
        return (x + step @ x + step @ step @ x) / 3

    torch.testing.assert_close(smoothed_features(x, edge_index, 2, NONE), mean(edge_index))
    found = smoothed_features(x, edge_index, 2, hidden)
    visible = mean(edge_index[:, ~(edge_index == 2).any(0)])
    torch.testing.assert_close(found[[0, 1, 3, 4, 5, 6]], visible[[0, 1, 3, 4, 5, 6]])
    torch.testing.assert_close(found[2], mean(edge_index)[2])
    moved = x.clone()
    moved[2] += 1
    torch.testing.assert_close(smoothed_features(moved, edge_index, 2, hidden)[0], found[0])


class TestDataSets:
    def data(self, npz, setting):
        config = {"path": str(npz()), "labels_per_class": 2, "valid_per_class": 1, "setting": setting}
        return Factory("datasets", {"use": "graph/npz", **config, "positions": 3, "smoothing": 2})()

    def test_transductive(self, npz):
        data = self.data(npz, "transductive")
        assert data.fields["position"].shape == (3,)
        assert data.fields["smoothed"].shape == data.fields["x"].shape
        edges = data.relations["edge_index"]
        assert torch.equal(data.samples["position"], position_features(edges, len(data), 3, NONE))
        assert torch.equal(data.samples["smoothed"], smoothed_features(data.samples["x"], edges, 2, NONE))
        assert data.split(0).inputs == {}

    def test_production(self, npz):
        data = self.data(npz, "production")
        split, edges = data.split(1), data.relations["edge_index"]
        assert len(split.hidden)
        assert torch.equal(split.inputs["position"], position_features(edges, len(data), 3, split.hidden))
        assert torch.equal(split.inputs["smoothed"], smoothed_features(data.samples["x"], edges, 2, split.hidden))
        assert not torch.equal(split.inputs["position"], data.split(2).inputs["position"])

    def test_every_view_of_a_split_shows_them(self, npz):
        table = {
            "dataset": {"use": "graph/npz", "path": str(npz()), "labels_per_class": 2, "valid_per_class": 1}
            | {"setting": "production", "positions": 3},
            "task": {"use": "classification"},
            "student": {"use": "mlp", "inputs": {"x": ["x", "position"]}},
        }
        experiment = Experiment(check(table))
        made = experiment.split(0).inputs["position"]
        for view in (experiment.training_view(0), *(experiment.view(0, part) for part in ("valid", "tran", "ind"))):
            assert torch.equal(view.batch(view.rows)["position"], made[view.rows])
        bound = experiment.model(experiment.recipe.student, 0, "student-init")
        assert bound.binding.fields == ("x", "position")
        assert bound.module.width == experiment.dataset.fields["x"].shape[0] + 3
