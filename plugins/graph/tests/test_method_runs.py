"""The recipes of NOSMOG, InfGraND, AdaGMLP and of graph networks among themselves, from data to prediction."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmkd.cli.main import main
from mmkd.deployment.from_run import export_run
from mmkd.evaluation.explain import as_text, explain
from mmkd.evaluation.run import run
from mmkd_graph.datasets.digits_knn import DigitsKNN

FEW = [
    "training.steps=3",
    "training.evaluate_every=3",
    "sources.teacher.training.steps=12",
    "sources.teacher.training.lr=0.05",
    "evaluation.latency=false",
    "evaluation.controls=[]",
]


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A function that runs a recipe, shrunk."""
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))

    def bring(name, *changes):
        return run(f"graph/{name}", [*FEW, *changes], seeds=1, directory=tmp_path / name)

    return bring


def predicted(bundle, inputs, tmp_path, capsys):
    np.savez(tmp_path / "nodes.npz", **inputs)
    assert main(["predict", str(bundle.path), str(tmp_path / "nodes.npz"), "--json"]) == 0
    return [row["class"] for row in json.loads(capsys.readouterr().out)["predictions"]]


def test_nosmog_in_production(brought, tmp_path, capsys):
    """The student wants both fields, and hidden nodes are judged by their neighbours' positions."""
    finished = brought("nosmog", "dataset.setting=production", "dataset.positions=8")
    arms = finished.result["arms"]
    assert arms["distilled"]["inputs"]["fields"] == ["x", "position"]
    assert arms["losses"]["inputs"]["fields"] == arms["glnn"]["inputs"]["fields"] == ["x"]
    assert set(arms["distilled"]["parts"]) == {"tran", "ind"}
    bundle = export_run(finished.directory, directory=tmp_path / "bundle")
    assert bundle.reads == ("x", "position")
    data = DigitsKNN(setting="production", positions=8)
    split = data.split(0)
    rows = split.test["ind"][:5]
    inputs = {"x": data.samples["x"][rows].numpy(), "position": split.inputs["position"][rows].numpy()}
    said = predicted(bundle, inputs, tmp_path, capsys)
    weights = load_file(finished.directory / "seeds/0/distilled/weights.safetensors")
    first, last = ([weights[f"{part}.{name}"] for name in ("weight", "bias")] for part in ("hidden.0.0", "last"))
    joint = torch.from_numpy(np.concatenate([inputs["x"], inputs["position"]], 1))
    logits = torch.relu(joint @ first[0].T + first[1]) @ last[0].T + last[1]
    assert said == list(map(str, logits.argmax(1).tolist()))
    np.savez(tmp_path / "alone.npz", x=inputs["x"])
    assert main(["predict", str(bundle.path), str(tmp_path / "alone.npz")]) != 0
    assert "position" in capsys.readouterr().err


def test_infgrand(brought):
    arms = brought("infgrand", "training.steps=2").result["arms"]
    assert all(arm["status"] == "done" for arm in arms.values())
    assert arms["distilled"]["inputs"]["fields"] == ["smoothed"]
    assert arms["losses"]["inputs"]["fields"] == ["x"]


def test_adagmlp_votes_in_the_bundle(brought, tmp_path, capsys):
    finished = brought("adagmlp")
    weights = load_file(finished.directory / "seeds/0/distilled/weights.safetensors")
    assert weights["shares"].sum().item() == pytest.approx(1)
    bundle = export_run(finished.directory, directory=tmp_path / "bundle")
    assert bundle.reads == ("x",)
    assert bundle.max_abs_difference <= 1e-5
    x = DigitsKNN().samples["x"][:6]
    mixed = torch.zeros(6, 10)
    for k, share in enumerate(weights["shares"]):
        part = f"members.{k}."
        hidden = torch.relu(x @ weights[part + "hidden.0.0.weight"].T + weights[part + "hidden.0.0.bias"])
        mixed += share * (hidden @ weights[part + "last.weight"].T + weights[part + "last.bias"]).softmax(1)
    assert predicted(bundle, {"x": x.numpy()}, tmp_path, capsys) == list(map(str, mixed.argmax(1).tolist()))


def test_gnn_to_gnn(brought):
    finished = brought("gnn-to-gnn", "sources.teacher.model.layers=2", "training.steps=2")
    arms = finished.result["arms"]
    assert {"lsp", "adjacency", "graphakd"} <= {name for name, arm in arms.items() if arm["status"] == "done"}
    assert arms["graphakd"]["inputs"]["fields"] == ["x", "edge_index"]
    logged = (finished.directory / "seeds/0/graphakd/metrics.jsonl").read_text()
    assert '"adversary/graphakd/local"' in logged
    assert '"student/graphakd/l1"' in logged
    assert not any(
        "identif" in name or "advers" in name
        for name in load_file(finished.directory / "seeds/0/graphakd/weights.safetensors")
    )


@pytest.mark.parametrize("name", ["nosmog", "infgrand", "adagmlp", "gnn-to-gnn", "gnn-to-mlp"])
def test_each_recipe_can_be_explained(name):
    assert "reads" in as_text(explain(f"graph/{name}"))
