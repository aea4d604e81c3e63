"""A student that is no network: a decision tree fitted to a network's soft answers, in one report with a network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from scipy.special import softmax
from sklearn.tree import DecisionTreeRegressor

from mmkd import recipes
from mmkd.data import Dataset, Field, Split
from mmkd.errors import ConfigError
from mmkd.estimators import Estimator
from mmkd.evaluation.arms import Plan
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.explain import explain
from mmkd.evaluation.job import Job
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------


class Rings(Dataset):
    """Three rings in the plane; a field per coordinate, and in the second one a value that says nothing."""

    def __init__(self):
        draws, label = torch.Generator().manual_seed(0), torch.arange(240) % 3
        angle = 6.3 * torch.rand(240, generator=draws)
        radius = label + 0.3 * torch.randn(240, generator=draws)
        other = torch.stack([radius * angle.sin(), torch.rand(240, generator=draws)], 1)
        fields = {"a": Field((1,), layout="vector"), "b": Field((2,), layout="vector")}
        target = Field((), "int64", target=True, classes=("inner", "middle", "outer"))
        samples = {"a": (radius * angle.cos())[:, None], "b": other, "label": label}
        super().__init__({**fields, "label": target}, samples)

    def split(self, seed):
        rows = torch.randperm(240, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:60], rows[60:140], rows[140:180], {"test": rows[180:]})


class Tree(Estimator):
    """A tree as its leaves: of each the box of inputs and the logarithm of its mean class probabilities.

    It learns from the teacher, of whom it may ask more than was measured, or else from the labels.
    """

    def __init__(self, inputs, outputs, /, *, depth: int = 4, asks: int = 0):
        super().__init__(inputs, outputs)
        self.depth, self.asks = depth, asks

    def fit(self, inputs, labels, signals, valid, query, *, seed):
        x, answers = inputs["x"][labels["labelled"]], np.eye(3)[labels["label"][labels["labelled"]]]
        if signals or self.asks:
            x = np.concatenate([inputs["x"] + np.float32(0.1 * k) for k in range(1 + self.asks)])
            said = query({"x": x}) if self.asks else signals["teacher"]
            answers = softmax(said["logits"], axis=1)
        tree = DecisionTreeRegressor(max_depth=self.depth, random_state=seed).fit(x, answers).tree_
        everywhere = np.full(x.shape[1], np.finfo(np.float32).max)
        boxes = list(leaves(tree, 0, -everywhere, everywhere))
        values = tree.value[[node for node, _, _ in boxes], :, 0]
        self.learnt = np.array([b[1] for b in boxes]), np.array([b[2] for b in boxes]), np.log(values.clip(1e-4))

    def predict(self, inputs):
        low, high, logits = (part.astype(np.float32) for part in self.learnt)
        x = inputs["x"][:, None]
        return {"logits": ((low < x) & (x <= high)).all(2).astype(np.float32) @ logits}

    def to_onnx(self):
        stored = dict(zip(("low", "high", "leaf"), (part.astype(np.float32) for part in self.learnt), strict=True))
        nodes = [
            helper.make_node("Unsqueeze", ["x", "one"], ["each"]),
            helper.make_node("Less", ["low", "each"], ["above"]),
            helper.make_node("LessOrEqual", ["each", "high"], ["below"]),
            helper.make_node("And", ["above", "below"], ["inside"]),
            helper.make_node("Cast", ["inside"], ["counts"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["counts", "two"], ["all"], keepdims=0),
            helper.make_node("MatMul", ["all", "leaf"], ["logits"]),
        ]
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "logits")]
        constants = {**stored, "one": np.array([1]), "two": np.array([2])}
        values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        graph = helper.make_graph(nodes, "tree", ports[:1], ports[1:], values)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    def describe(self, classes):
        return {"leaves": len(self.learnt[0]), "of": list(classes)}

    def state(self):
        return {"learnt": [part.tolist() for part in self.learnt]}

    def load_state(self, state):
        self.learnt = tuple(np.array(part) for part in state["learnt"])


def leaves(tree, node, low, high):
    """Node, lower and upper corner of every leaf below a node."""
    if tree.children_left[node] < 0:
        yield node, low, high
        return
    here = np.arange(len(low)) == tree.feature[node]
    yield from leaves(tree, tree.children_left[node], low, np.where(here, tree.threshold[node], high))
    yield from leaves(tree, tree.children_right[node], np.where(here, tree.threshold[node], low), high)


# --- its passage ------------------------------------------------------------------------------------------------------

BOTH = {"inputs": {"x": ["a", "b"]}}


def recipe(plugin, **arms):
    return {
        "name": "fake/tree",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/rings", f"{__name__}:Rings")},
        "task": {"use": "classification"},
        "student": {"use": plugin("models", "fake/tree", f"{__name__}:Tree"), **BOTH},
        "sources": {"teacher": {"model": {"use": "mlp", "hidden": 16, **BOTH}, "training": {"steps": 60, "lr": 0.01}}},
        "training": TRAINING,
        "evaluation": {"controls": ["hard-teacher", "permuted-teacher", "label-smoothing", "self-training"]},
        "arms": arms,
    }


def net(**table):
    """A further arm: a network in the tree's place."""
    methods = [{"use": "soft-targets", "temperature": 1.0}]
    return {"student": {"use": "mlp", "hidden": 8, "dropout": 0.2, **BOTH}, "methods": methods, **table}


def test_a_tree_and_a_network_stand_in_one_report(plugin, tmp_path):
    table = recipe(plugin, net=net(), asking={"student": {"use": "fake/tree", "asks": 2, **BOTH}})
    passage = bring_through(table, tmp_path, arm="net")
    result = passage.run.result
    compared = {"distilled", "hard-teacher", "permuted-teacher", "net", "asking"}
    assert {comparison["candidate"] for comparison in result["comparisons"]} == compared
    for arm in ("label-smoothing", "self-training"):
        assert result["arms"][arm]["status"] == "not applicable"
        assert "estimator" in result["arms"][arm]["reason"]
    states = {}  # of alone, distilled, asking and two controls, for two seeds: all different
    for path in sorted((tmp_path / "whole/seeds").rglob("estimator.json")):
        states[path.parent.relative_to(tmp_path / "whole/seeds").as_posix()] = path.read_text()
    assert len(set(states.values())) == len(states) == 2 * 5
    again = list((tmp_path / "cut/seeds").rglob("estimator.json"))  # fitted in the run that was interrupted later on
    assert len(again) == 4
    assert all(path.read_text() == states[path.parent.relative_to(tmp_path / "cut/seeds").as_posix()] for path in again)
    assert "parameters" in result["arms"]["net"]["cost"]
    assert load_file(passage.run.directory / "seeds/0/net/weights.safetensors")["last.weight"].shape == (3, 8)

    # The exported tree reads its two fields and says what the stored one says; it was saved as JSON.
    assert passage.bundle.reads == ("a", "b")
    tree = passage.experiment.model(passage.experiment.recipe.student, 0, "student-init")
    tree.load_state(json.loads(states["0/distilled"]))
    whole = passage.experiment.dataset.samples
    described = {"leaves": len(tree.learnt[0]), "of": ["inner", "middle", "outer"]}
    assert passage.bundle.manifest["student"] == {"kind": "estimator", "class": "Tree", **described}
    assert passage.job("distilled")["learnt"] == described
    inputs = {name: whole[name].numpy() for name in ("a", "b")}
    said = passage.bundle.load()(**inputs)["logits"]
    assert np.allclose(said, tree.predict({"x": np.concatenate(list(inputs.values()), 1)})["logits"], atol=1e-5)
    records = passage.records("distilled")
    assert np.allclose(records["logits"], said[records["index"]], atol=1e-5)
    assert explain(table)["student"] == {"class": "Tree", "reads": {"x": ["a", "b"]}, "kind": "estimator"}


def test_a_new_input_is_split_into_the_fields_it_is_made_of(plugin):
    experiment = Experiment(recipes.load(recipe(plugin))[0])
    tree = experiment.model(experiment.recipe.student, 0, "student-init")
    view = experiment.view(0, "valid")
    batch = view.batch(view.rows)
    values = tree.split({"x": tree.read(batch)["x"].astype(np.float64)}, experiment.dataset.fields)
    assert {name: (value.dtype, value.equal(batch[name])) for name, value in values.items()} == {
        "a": (torch.float32, True),
        "b": (torch.float32, True),
    }


@pytest.mark.parametrize(
    ("student", "plan", "message"),
    [
        ({"inputs": {"x": "b"}}, Plan("distilled"), "new inputs: it reads 'a' too"),
        (BOTH, Plan("alone", distil=False, labelled_only=True), "there is no teacher to ask"),
    ],
)
def test_a_tree_may_not_ask_what_the_teacher_cannot_answer(plugin, tmp_path, student, plan, message):
    table = recipe(plugin)
    table["student"] = {"use": "fake/tree", "asks": 1, **student}
    with pytest.raises(ConfigError, match=message):
        Job(Experiment(recipes.load(table)[0], cache=tmp_path / "cache"), plan, 0, tmp_path).run()


def test_a_control_that_is_asked_is_not_applicable(plugin, tmp_path):
    """Its answers about new inputs would be the teacher's own, with nothing taken away."""
    table = recipe(plugin)
    table["student"]["asks"] = 1
    job = Job(Experiment(recipes.load(table)[0]), Plan("permuted-teacher", control="permuted"), 0, tmp_path).run()
    assert job["status"] == "not applicable"
    assert "asks source 'teacher' about new inputs" in job["reason"]


def test_a_source_made_from_the_student_needs_one_that_learns_step_by_step(plugin, tmp_path):
    table = recipe(plugin)
    table["sources"] = {"past": {"use": "ema"}}
    with pytest.raises(ConfigError, match="source 'past' is made from the student while it learns"):
        Job(Experiment(recipes.load(table)[0]), Plan("distilled"), 0, tmp_path).run()
