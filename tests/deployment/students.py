"""Small data sets, tasks and students for the tests of deployment."""

import dataclasses
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper
from sklearn.tree import DecisionTreeRegressor
from torch import nn

from mmkd.binding import Bound, bind, bind_names
from mmkd.data import Dataset, Field, View
from mmkd.deployment.export import export
from mmkd.estimators import Estimator
from mmkd.tasks.base import Task
from mmkd.tasks.classification import Classification

CLASSES = ("cat", "dog", "owl")
LABEL = Field((), "int64", target=True, classes=CLASSES)


@dataclasses.dataclass
class Setup:
    """A student on a data set, ready for `export(*setup.arguments, directory)`."""

    model: Any
    dataset: Dataset
    task: Task

    def batch(self, rows=None, **samples):
        everything = torch.arange(len(self.dataset))
        batch = View(self.dataset, everything, everything).batch(everything if rows is None else rows)
        return batch.replace(**samples) if samples else batch

    @property
    def arguments(self):
        return self.model, self.batch(), self.dataset.fields, self.task

    def export(self, directory, **options):
        return export(*self.arguments, directory, **options)

    def arrays(self, names):
        """The inputs of all rows, as a caller of the runtime would hold them."""
        batch = self.batch()
        return {name: batch[name].numpy() for name in names}


def setup(module, fields, samples, inputs=None, task=None, constants=None, relations=None):
    """Bind a module to data of its own."""
    fields = {**fields, "label": LABEL}
    rows = len(next(iter(samples.values())))
    dataset = Dataset(fields, {**samples, "label": torch.arange(rows) % 3}, constants=constants, relations=relations)
    task = task or Classification(fields)
    return Setup(Bound(module, bind(module.forward, fields, inputs)), dataset, task)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


class MLP(nn.Module):
    taps = {"hidden": "hidden"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        h = self.hidden(x)
        return {"embedding": h, "logits": self.head(h)}


def mlp(rows=20, **field):
    made = setup(
        seeded(MLP),
        {"x": Field((4,), layout="vector", **field), "other": Field((2,))},
        {"x": draw(rows, 4), "other": draw(rows, 2)},
    )
    norm = made.model.module.hidden[1]
    norm.running_mean.copy_(draw(16, seed=1))
    norm.running_var.copy_(draw(16, seed=2).exp())
    return made


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 3)

    def forward(self, camera):
        return self.head(self.body(camera))


def cnn():
    return setup(seeded(CNN), {"camera": Field((2, 8, 8), layout="map")}, {"camera": draw(9, 2, 8, 8)})


class GRU(nn.Module):
    """Also reads a mask of the same length, as padded series do."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, imu, mask):
        steps = self.gru(imu.transpose(1, 2))[0] * mask[:, :, None]
        return self.head(steps.sum(1) / mask.sum(1, keepdim=True))


def gru():
    fields = {"imu": Field((2, None), layout="series"), "mask": Field((None,))}
    mask = (torch.arange(18).reshape(6, 3) % 5 > 0).float()
    return setup(seeded(GRU), fields, {"imu": draw(6, 2, 3), "mask": mask})


class Net(nn.Module):
    """Reads whatever it is bound to as `x`, and a constant."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, 3)

    def forward(self, x, prior):
        return self.layer(x) + prior["log"]["p"]


def two_fields():
    """Two sensors concatenated, with names that collide with those in the graph, and a nested constant."""
    fields = {
        "linear": Field((4,), layout="vector"),
        "t1-ce": Field((2,), layout="vector"),
        "prior": Field((3,), kind="constant"),
    }
    samples = {"linear": draw(7, 4), "t1-ce": draw(7, 2, seed=1)}
    prior = {"log": {"p": torch.tensor([1.0, 2.0, 3.0])}}
    return setup(seeded(lambda: Net(6)), fields, samples, {"x": ["linear", "t1-ce"]}, constants={"prior": prior})


class Graph(nn.Module):
    """Means over in-neighbours, by plain scatter."""

    def __init__(self):
        super().__init__()
        self.own, self.near = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x, edge_index):
        source, target = edge_index
        total = torch.zeros_like(x).index_add(0, target, x[source])
        degree = torch.zeros_like(x[:, 0]).index_add(0, target, torch.ones_like(source, dtype=x.dtype))
        return self.own(x) + self.near(total / degree.clamp(min=1)[:, None])


def graph(rows=30, edges=30):  # as many edges as rows: the tracer must not take them for one size
    fields = {"x": Field((4,), layout="nodes"), "edge_index": Field((2, edges), "int64", "edges", kind="relation")}
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(0, rows, (2, edges), generator=generator)
    return setup(seeded(Graph), fields, {"x": draw(rows, 4)}, relations={"edge_index": edge_index})


class Tree(Estimator):
    """A regression tree on the teacher's logits."""

    def __init__(self, inputs, outputs, /, *, depth: int = 6):
        super().__init__(inputs, outputs)
        self.depth = depth
        self.nodes = {}

    def fit(self, inputs, labels, signals, valid, query, *, seed):
        tree = DecisionTreeRegressor(max_depth=self.depth, random_state=seed)
        tree.fit(inputs["x"], signals["teacher"]["logits"])
        t = tree.tree_
        # x <= threshold must decide alike in float32: the largest float32 that is not above the threshold.
        threshold = t.threshold.astype(np.float32)
        threshold = np.where(threshold > t.threshold, np.nextafter(threshold, np.float32(-np.inf)), threshold)
        self.nodes = {
            "left": t.children_left.tolist(),
            "right": t.children_right.tolist(),
            "feature": t.feature.tolist(),
            "threshold": threshold.tolist(),
            "value": t.value[:, :, 0].tolist(),
        }

    def predict(self, inputs):
        left, right, feature = (np.array(self.nodes[name]) for name in ("left", "right", "feature"))
        threshold = np.array(self.nodes["threshold"], np.float32)
        at = np.zeros(len(inputs["x"]), np.int64)
        for _ in range(self.depth):
            goes_left = np.take_along_axis(inputs["x"], feature[at][:, None].clip(0), 1)[:, 0] <= threshold[at]
            at = np.where(left[at] < 0, at, np.where(goes_left, left[at], right[at]))
        return {"logits": np.array(self.nodes["value"], np.float32)[at]}

    def to_onnx(self):
        n = self.nodes
        ids = list(range(len(n["left"])))
        leaves = [i for i in ids if n["left"][i] < 0]
        outputs = len(n["value"][0])
        node = helper.make_node(
            "TreeEnsembleRegressor",
            ["x"],
            ["logits"],
            domain="ai.onnx.ml",
            n_targets=outputs,
            nodes_treeids=[0] * len(ids),
            nodes_nodeids=ids,
            nodes_featureids=[max(f, 0) for f in n["feature"]],
            nodes_values=n["threshold"],
            nodes_modes=["LEAF" if i in leaves else "BRANCH_LEQ" for i in ids],
            nodes_truenodeids=[max(i, 0) for i in n["left"]],
            nodes_falsenodeids=[max(i, 0) for i in n["right"]],
            target_treeids=[0] * len(leaves) * outputs,
            target_nodeids=[i for i in leaves for _ in range(outputs)],
            target_ids=list(range(outputs)) * len(leaves),
            target_weights=[value for i in leaves for value in n["value"][i]],
        )
        width = self.inputs["x"].shape[0]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", outputs])
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(helper.make_graph([node], "tree", [x], [logits]), opset_imports=opsets, ir_version=10)

    def state(self):
        return dict(self.nodes)

    def load_state(self, state):
        self.nodes = dict(state)


class Shift(Estimator):
    """Adds a constant of the data set to its input; its graph has names that fields have too."""

    reads = ("x", "prior")

    def fit(self, inputs, labels, signals, valid, query, *, seed): ...

    def predict(self, inputs):
        return {"logits": inputs["x"] + inputs["prior"]}

    def to_onnx(self):
        def port(name, *shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        nodes = [helper.make_node("Add", ["x", "prior"], ["a"]), helper.make_node("Identity", ["a"], ["logits"])]
        ports = [port("x", "n", 3), port("prior", 3)], [port("logits", "n", 3), port("a", "n", 3)]
        return helper.make_model(
            helper.make_graph(nodes, "shift", *ports), ir_version=10, opset_imports=[helper.make_opsetid("", 20)]
        )


def shift():
    fields = {"a": Field((3,)), "x": Field((3,), kind="constant"), "label": LABEL}
    samples = {"a": draw(5, 3), "label": torch.zeros(5, dtype=torch.long)}
    made = Setup(
        Shift({}, {}), Dataset(fields, samples, constants={"x": torch.tensor([1.0, 2.0, 3.0])}), Classification(fields)
    )
    made.model.binding = bind_names(Shift.reads, fields, {"x": "a", "prior": "x"})
    return made


def tree(inputs=None, rows=500):
    """A fitted tree; its default binding reads one field, `{"x": ["a", "b"]}` two."""
    fields = {
        "x": Field((6,), layout="vector"),
        "a": Field((2,), layout="vector"),
        "b": Field((4,), layout="vector"),
        "label": LABEL,
    }
    x = draw(rows, 6)
    values = {"x": x, "a": x[:, :2].clone(), "b": x[:, 2:].clone(), "label": torch.zeros(rows, dtype=torch.long)}
    dataset = Dataset(fields, values)
    task = Classification(fields)
    made = Setup(Tree({"x": fields["x"]}, task.outputs), dataset, task)
    made.model.binding = bind_names(Tree.reads, fields, inputs)
    read = made.model.read(made.batch())
    teacher = {"logits": np.stack([x[:, 0] * x[:, 1], x[:, 2].sin(), x[:, 3:].sum(1)], 1)}
    labels = {"label": np.zeros(rows, np.int64), "labelled": np.ones(rows, bool)}
    made.model.fit(read, labels, {"teacher": teacher}, (read, labels), lambda _: teacher, seed=0)
    return made
