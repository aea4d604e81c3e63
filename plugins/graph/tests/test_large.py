"""Graphs too large for a neural network to run on whole: drawing them, summing hops, fetching neighbourhoods."""

import numpy as np
import pytest
import torch

from mmkd.data import Field
from mmkd.errors import ConfigError
from mmkd.evaluation.run import run
from mmkd_graph import blocks
from mmkd_graph.blocks import Adjacency, sample_blocks, write_hops
from mmkd_graph.datasets.large_blocks import LargeBlocks
from mmkd_graph.models.sage import SAGE
from mmkd_graph.models.sign import SIGN, SIGNHops, hops_of
from mmkd_graph.neighbours import Fetcher

NODES = 300


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(NODES) % 3)


@pytest.fixture(scope="module")
def graph(labels: np.ndarray) -> Adjacency:
    return sample_blocks(labels, 1500, 0.8, 2.0, np.random.default_rng(1))


def edge_index(graph: Adjacency) -> torch.Tensor:
    target = np.repeat(np.arange(len(graph)), np.diff(graph.start))
    return torch.from_numpy(np.stack([graph.neighbour.astype(np.int64), target]))


def test_blocks_are_simple_undirected_and_faithful(graph: Adjacency, labels: np.ndarray) -> None:
    matrix = graph.rows(0, NODES).toarray()
    assert (matrix == matrix.T).all()
    assert not matrix.diagonal().any()
    assert matrix.max() == 1
    source, target = edge_index(graph).numpy()
    same = (labels[source] == labels[target]).mean()
    assert same == pytest.approx(0.8 + 0.2 / 3, abs=0.03)  # a stray end may fall into the class too


def test_popular_nodes_have_many_more_edges(labels: np.ndarray) -> None:
    even = sample_blocks(labels, 1500, 0.8, 1.0, np.random.default_rng(1))
    skewed = sample_blocks(labels, 1500, 0.8, 3.0, np.random.default_rng(1))
    assert np.diff(skewed.start).max() > 2 * np.diff(even.start).max()


def test_edges_are_drawn_in_parts_alike(labels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "DRAWN_AT_ONCE", 100)
    assert len(sample_blocks(labels, 1000, 0.8, 1.0, np.random.default_rng(0)).neighbour) > 1900


@pytest.mark.parametrize("at_once", [7, 1000])
def test_hops_are_those_of_the_whole_graph(graph: Adjacency, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SUMMED_AT_ONCE", at_once)
    hops = np.zeros((NODES, 4, 5), dtype=np.float32)
    hops[:, 0] = np.random.default_rng(2).standard_normal((NODES, 5))
    wanted = torch.stack(hops_of(torch.from_numpy(hops[:, 0].copy()), edge_index(graph), 3), 1)
    write_hops(graph, hops)
    torch.testing.assert_close(torch.from_numpy(hops), wanted)


def test_sign_says_the_same_from_hops_on_file() -> None:
    x, edges = torch.randn(6, 4), torch.tensor([[0, 1, 2, 1], [1, 0, 1, 2]])
    relation = Field((2, None), "int64", "edges", kind="relation")
    whole = SIGN({"x": Field((4,)), "edge_index": relation}, {"logits": (3,)}, hidden=8, hops=2).eval()
    held = SIGNHops({"hops": Field((3, 4))}, {"logits": (3,)}, hidden=8).eval()
    held.load_state_dict(whole.state_dict())
    torch.testing.assert_close(held(torch.stack(hops_of(x, edges, 2), 1)), whole(x, edges))
    with pytest.raises(ConfigError, match=r"\[hops, features\]"):
        SIGNHops({"hops": Field((4,))}, {"logits": (3,)})


def test_a_neighbourhood_is_all_that_a_mean_over_neighbours_needs(graph: Adjacency) -> None:
    x = torch.randn(NODES, 4)
    fields = {"x": Field((4,)), "edge_index": Field((2, None), "int64", "edges", kind="relation")}
    model = SAGE(fields, {"logits": (3,)}, hidden=8, layers=2).eval()
    nodes = np.array([5, 200, 17])
    part = Fetcher(graph, 2)(nodes)
    assert part.nodes[:3].tolist() == [5, 200, 17]
    assert len(part.nodes.unique()) == len(part.nodes) < NODES
    torch.testing.assert_close(model(x[part.nodes], part.edge_index)[:3], model(x, edge_index(graph))[nodes])


def test_fan_out_takes_distinct_neighbours_and_no_more_than_asked(graph: Adjacency) -> None:
    fetch = Fetcher(graph, 1, fan_out=3)
    degree = np.diff(graph.start)
    nodes = np.array([int(degree.argmax()), int(degree.argmin())])
    part = fetch(nodes)
    heard = [part.nodes[part.edge_index[0, part.edge_index[1] == place]].tolist() for place in (0, 1)]
    assert len(heard[0]) == 3
    assert len(heard[1]) == min(3, degree.min())
    for node, found in zip(nodes, heard, strict=True):
        assert set(found) <= set(graph.neighbour[graph.start[node] : graph.start[node + 1]].tolist())
    again = [sorted(fetch(nodes[:1]).nodes.tolist()) for _ in range(8)]
    assert len({tuple(one) for one in again}) > 1


def test_a_large_graph_is_made_once_mapped_and_distilled(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = LargeBlocks(nodes=2000, degree=8)
    made = {file.name: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")}
    assert set(made) == {"hops.npy", "label.npy", "start.npy", "neighbour.npy"}
    again = LargeBlocks(nodes=2000, degree=8)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")} == made
    assert again.content_hash() == first.content_hash()
    assert again.edges == first.edges > 14_000
    split = again.split(0)
    assert [len(part) for part in (split.labelled, split.unlabelled, split.valid, split.test["test"])] == [
        160,
        1840,
        100,
        200,
    ]
    changes = ["dataset.nodes=2000", "dataset.degree=8.0", "training.steps=60", "training.batch_size=256"]
    done = run("graph/large-blocks", changes, directory=tmp_path / "run")
    assert done.result["arms"]["teacher"]["mean"] > 2 * done.result["arms"]["alone"]["mean"]
