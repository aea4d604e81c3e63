"""Exported students compute what the original computes, of the declared fields alone."""

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mmkd.binding import Binding, Bound, bind
from mmkd.data import Field
from mmkd.deployment import graph
from mmkd.deployment.runtime import Student, read_manifest
from mmkd.deployment.verify import check_ports, compare, verify
from mmkd.errors import BindingError, DataError, MmkdError, StorageError

from . import students

ALL = {
    "mlp": ("x",),
    "cnn": ("camera",),
    "gru": ("imu", "mask"),
    "two_fields": ("linear", "t1-ce"),
    "graph": ("x", "edge_index"),
    "tree": ("x",),
    "shift": ("a",),
}


def torch_says(made):
    """The task's output by the way that training and evaluation take."""
    made.model.eval() if isinstance(made.model, nn.Module) else None
    with torch.no_grad():
        return made.model(made.batch()).outputs["logits"].numpy()


class TestParity:
    @pytest.mark.parametrize("name", ALL)
    def test_inputs_are_the_bound_fields_and_nothing_else(self, exported, name):
        bundle = exported(name)[1]
        model = onnx.load(bundle.path / "model.onnx", load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        assert tuple(value.name for value in model.graph.input) == ALL[name] == bundle.reads
        assert not {value.name for value in model.graph.input} & {tensor.name for tensor in model.graph.initializer}
        assert set(bundle.load().fields) == set(ALL[name])

    @pytest.mark.parametrize("name", ALL)
    def test_predicts_as_the_original_through_its_own_path(self, exported, name):
        made, bundle = exported(name)
        student = bundle.load(threads=1)
        found = student(made.arrays(ALL[name]))
        assert list(found) == ["logits"]
        np.testing.assert_allclose(found["logits"], torch_says(made), atol=1e-5)
        assert bundle.max_abs_difference <= 1e-5

    @pytest.mark.parametrize("name", [name for name in ALL if name != "graph"])
    @pytest.mark.parametrize("rows", [1, 2, 5])
    def test_every_batch_size(self, exported, name, rows):
        made, bundle = exported(name)
        some = {name: value[:rows] for name, value in made.arrays(ALL[name]).items()}
        np.testing.assert_allclose(bundle.load(threads=1)(some)["logits"], torch_says(made)[:rows], atol=1e-5)

    def test_pieces_equal_the_whole(self, exported):
        made, bundle = exported("mlp")
        inputs = made.arrays(["x"])
        np.testing.assert_allclose(bundle.load(rows_at_once=3)(inputs)["logits"], bundle.load()(inputs)["logits"], 1e-5)

    @pytest.mark.parametrize("steps", [1, 2, 7, 30])
    def test_series_of_other_lengths(self, exported, steps):
        made, bundle = exported("gru")
        imu, mask = students.draw(3, 2, steps, seed=5), torch.ones(3, steps)
        with torch.no_grad():
            expected = made.model.module.eval()(imu, mask)
        found = bundle.load(threads=1)(imu=imu.numpy(), mask=mask.numpy())["logits"]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
        assert bundle.load().session.get_inputs()[0].shape == ["batch", 2, "imu.T"]

    @pytest.mark.parametrize(("rows", "edges"), [(12, 50), (2, 1), (40, 0)])
    def test_graphs_of_other_sizes(self, exported, rows, edges):
        made, bundle = exported("graph")
        x, edge_index = students.draw(rows, 4), torch.randint(0, rows, (2, edges))
        with torch.no_grad():
            expected = made.model.module.eval()(x, edge_index)
        found = bundle.load(threads=1)(x=x.numpy(), edge_index=edge_index.numpy())["logits"]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)

    def test_graph_is_reported_as_relational(self, exported):
        assert any("edge_index" in note for note in exported("graph")[1].manifest["warnings"])
        assert exported("mlp")[1].manifest["warnings"] == []

    def test_tree_on_500_rows_and_concatenated_fields(self, exported, tmp_path):
        made, bundle = exported("tree")
        assert bundle.manifest["parity"]["rows"][-1] == 500
        assert bundle.max_abs_difference == 0
        joined = students.tree({"x": ["a", "b"]})
        other = joined.export(tmp_path / "joined")
        assert other.reads == ("a", "b")
        np.testing.assert_array_equal(
            other.load()(joined.arrays(["a", "b"]))["logits"], bundle.load()(made.arrays(["x"]))["logits"]
        )

    def test_estimator_survives_its_state(self, exported):
        made, _ = exported("tree")
        again = students.Tree(made.model.inputs, made.model.outputs)
        again.load_state(json.loads(json.dumps(made.model.state())))
        again.binding = made.model.binding
        assert torch.equal(again(made.batch()).logits, made.model(made.batch()).logits)

    def test_from_a_single_row(self, tmp_path):
        """The tracer would take a size of 1 for a fixed one."""
        made = students.setup(Means(), {"s": Field((3, None), layout="series")}, {"s": students.draw(1, 3, 1)})
        student = made.export(tmp_path / "bundle").load(threads=1)
        assert student.session.get_outputs()[0].shape == ["batch", 3]
        s = students.draw(4, 3, 6)
        np.testing.assert_allclose(student(s=s.numpy())["logits"], Means()(s).numpy(), atol=1e-6)


class Means(nn.Module):
    def forward(self, s):
        return (s - s.mean(0)).sum(2) + s.new_ones(s.shape[0], 1)


class TestManifest:
    def test_says_what_is_needed(self, exported):
        bundle = exported("two_fields")[1]
        manifest = read_manifest(bundle.path)
        assert manifest == bundle.manifest
        assert manifest["reads"] == ["linear", "t1-ce"]
        assert manifest["bound"] == {"x": ["linear", "t1-ce"], "prior": ["prior"]}
        assert manifest["constants"] == ["prior"]
        assert manifest["fields"]["linear"] == {
            "shape": [4],
            "dtype": "float32",
            "layout": "vector",
            "kind": "sample",
            "axes": "B C",
        }
        assert manifest["outputs"] == {"logits": {"shape": [3], "dtype": "float32"}}
        assert manifest["task"]["classes"] == list(students.CLASSES)
        assert manifest["recipe"] == "test/two_fields"
        assert manifest["student"] == {"kind": "module", "class": "Net", "parameters": 21}
        assert manifest["sizes"]["model.onnx"] == (bundle.path / "model.onnx").stat().st_size
        assert manifest["parity"]["rows"] == [1, 4, 7]
        assert manifest["opset"]["ai.onnx"] >= 17
        assert set(manifest["files"]) == {"model.onnx", "examples.npz"}

    def test_same_student_gives_the_same_bytes(self, exported, tmp_path):
        _, bundle = exported("mlp")
        assert students.mlp().export(tmp_path / "again", recipe="test/mlp").manifest == bundle.manifest

    def test_tells_nothing_of_this_machine(self, exported):
        for name in ALL:
            for file in exported(name)[1].path.iterdir():
                content = file.read_bytes()
                assert not any(word in content for word in (b"/students.py", b"/site-packages", b"stack_trace"))

    def test_description(self, exported):
        text = exported("mlp")[1].describe()
        assert "reads    x, and nothing else" in text
        assert "on 20 rows" in text


class TestOriginal:
    def test_is_left_as_it_was(self, tmp_path):
        made = students.mlp()
        module = made.model.module.to(torch.bfloat16).train()
        module.hidden[1].eval()
        module.kept = None
        before = {name: value.clone() for name, value in module.state_dict().items()}
        modes = {name: part.training for name, part in module.named_modules()}
        state, threads, disabled = torch.random.get_rng_state(), torch.get_num_threads(), logging.root.manager.disable
        made.export(tmp_path / "bundle")
        after = module.state_dict()
        assert all(
            torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before
        )
        assert {name: part.training for name, part in module.named_modules()} == modes
        assert all(parameter.requires_grad for parameter in module.parameters())
        assert torch.equal(torch.random.get_rng_state(), state)
        assert (torch.get_num_threads(), logging.root.manager.disable) == (threads, disabled)
        assert module.kept is None

    def test_export_prints_nothing_whether_it_works_or_not(self, tmp_path):
        code = (
            "import sys; from tests.deployment import test_export as t\n"
            "t.simple(t.Doubles(3)).export(sys.argv[1])\n"
            "with t.pytest.raises(t.MmkdError): t.simple(t.Branches()).export(sys.argv[2])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "a", tmp_path / "b"],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[2],
        )
        assert (done.stdout, done.stderr) == (b"", b"")


class Remembers(nn.Module):
    """Smuggles in what it saw once, row by row."""

    def __init__(self, secret):
        super().__init__()
        self.secret = secret

    def forward(self, x):
        return x[:, :3] + self.secret


class Branches(nn.Module):
    def forward(self, x):
        return x[:, :3] if x.sum() > 0 else -x[:, :3]


class Nested(nn.Module):
    def forward(self, x_dict):
        return x_dict["paper"][:, :3]


class Sparse(nn.Module):
    def forward(self, x, adjacency):
        return (adjacency @ x)[:, :3]


class Squeezes(nn.Module):
    def forward(self, x):
        return x[:, :3].squeeze(0) if x.shape[0] == 1 else x[:, :3]


class Special(nn.Module):
    def forward(self, x):
        return x[:, :3] * (2 if x.shape[0] == 1 else 3)


class Pads(nn.Module):
    """Is given a second field, and looks at no more than its size."""

    def forward(self, x, other):
        return x[:, :3] + torch.zeros(other.size(0), 1)


class Seeds(nn.Module):
    """Computes something else whenever it is asked."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x[:, :3] + self.calls * 0.01


def simple(module, **fields):
    declared = {"x": Field((4,), layout="vector"), **fields}
    return students.setup(module, declared, {name: students.draw(8, *field.shape) for name, field in declared.items()})


class TestRefusals:
    def refused(self, made, tmp_path, error, *words, **options):
        with pytest.raises(error) as caught:
            made.export(tmp_path / "refused", **options)
        for word in words:
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "refused").exists()

    def test_student_that_needs_a_field_it_is_not_bound_to(self, tmp_path):
        made = simple(Pads(), other=Field((2,)))
        made.model = Bound(made.model.module, Binding({"x": ("x",)}, {}, False))
        self.refused(made, tmp_path, BindingError, "Pads", "'other'", "bound to no field")

    def test_student_bound_to_a_field_that_the_data_lacks(self, tmp_path):
        made = simple(Remembers(0.0))
        made.model = Bound(made.model.module, Binding({"x": ("lidar",)}, {}, False))
        self.refused(made, tmp_path, BindingError, "'lidar'", "fields: x, label")

    def test_student_bound_to_the_label(self, tmp_path):
        made = simple(Remembers(0.0))
        made.model = Bound(made.model.module, Binding({"x": ("label",)}, {}, False))
        self.refused(made, tmp_path, BindingError, "label")

    def test_student_that_remembers_rows_of_another_sensor(self, tmp_path):
        made = simple(Remembers(students.draw(8, 3, seed=9)))
        self.refused(made, tmp_path, MmkdError, "one size only", "'batch'", "at 8")

    def test_student_with_branches_on_values(self, tmp_path):
        self.refused(simple(Branches()), tmp_path, MmkdError, "Branches cannot be written as ONNX", "branches")

    def test_nested_field(self, tmp_path):
        fields = {"x_dict": Field((4,)), "label": students.LABEL}
        data = {"x_dict": {"paper": students.draw(8, 4)}, "label": torch.zeros(8, dtype=torch.long)}
        made = students.Setup(
            Bound(Nested(), bind(Nested.forward, fields)),
            students.Dataset(fields, data),
            students.Classification(fields),
        )
        self.refused(made, tmp_path, BindingError, "'x_dict'", "dict", "cannot be an ONNX input")

    def test_sparse_relation(self, tmp_path):
        fields = {"x": Field((4,), layout="nodes"), "adjacency": Field((8, 8), kind="relation")}
        made = students.setup(Sparse(), fields, {"x": students.draw(8, 4)}, relations={"adjacency": torch.eye(8)})
        made.dataset.relations["adjacency"] = torch.eye(8).to_sparse_coo()
        self.refused(made, tmp_path, BindingError, "'adjacency'", "sparse")

    def test_student_without_the_task_s_output(self, tmp_path):
        made = simple(Remembers(0.0))
        made.task.outputs = {"boxes": (4,)}
        self.refused(made, tmp_path, MmkdError, "'boxes'", "it gives logits")

    def test_student_that_drops_the_axis_of_a_single_row(self, tmp_path):
        made = students.setup(Squeezes(), {"x": Field((4,))}, {"x": students.draw(1, 4)})
        self.refused(made, tmp_path, MmkdError, "'logits' of shape [3] for a batch of 1")
        made = students.setup(Squeezes(), {"x": Field((4,))}, {"x": students.draw(5, 4)})
        self.refused(made, tmp_path, MmkdError, "has shape [1, 3] where [3] is expected")

    def test_student_that_treats_a_single_row_otherwise(self, tmp_path):
        """Traced with the one row at hand it would pass, and be wrong for two."""
        made = students.setup(Special(), {"x": Field((4,))}, {"x": students.draw(1, 4)})
        self.refused(made, tmp_path, MmkdError, "differs from the original")

    def test_scores_that_are_not_the_classes(self, tmp_path):
        self.refused(simple(Doubles(4)), tmp_path, MmkdError, "4 scores", "3 classes")

    def test_rows_of_another_form_than_declared(self, tmp_path):
        made = students.setup(Remembers(0.0), {"x": Field((5,))}, {"x": students.draw(8, 4)})
        self.refused(made, tmp_path, DataError, "'x'", "[5]", "[4]")

    def test_rows_out_of_their_declared_range(self, tmp_path):
        made = simple(Remembers(0.0), x=Field((4,), range=(0.0, 1.0)))
        self.refused(made, tmp_path, DataError, "'x'", "range")

    def test_difference_beyond_the_tolerance(self, tmp_path):
        self.refused(simple(Seeds()), tmp_path, MmkdError, "differs from the original by 0.0", "tolerance is 1e-05")

    def test_foreign_directory(self, tmp_path):
        foreign = tmp_path / "mine"
        foreign.mkdir()
        (foreign / "thesis.tex").write_text("years of work")
        with pytest.raises(StorageError, match=r"thesis\.tex"):
            students.tree().export(foreign)
        assert (foreign / "thesis.tex").read_text() == "years of work"

    def test_unused_input_is_a_warning(self, tmp_path):
        made = simple(Pads(), other=Field((2,)))
        bundle = made.export(tmp_path / "bundle")
        assert bundle.reads == ("x", "other")
        assert bundle.manifest["warnings"] == ["the student is bound to 'other', but its values reach no output"]

    def test_estimator_with_other_inputs(self, tmp_path):
        made = students.tree()
        made.model.binding = Binding({"table": ("x",)}, {}, False)
        made.model.reads = ("table",)
        made.model.predict = lambda inputs: {"logits": np.zeros((len(inputs["table"]), 3), np.float32)}
        self.refused(made, tmp_path, BindingError, "inputs x", "parameters are table")

    def test_estimator_whose_graph_differs(self, tmp_path):
        made = students.tree()
        original = made.model.to_onnx()
        made.model.nodes["value"] = [[1.0, 2.0, 3.0 + at] for at in range(len(made.model.nodes["value"]))]
        made.model.to_onnx = lambda: original
        self.refused(made, tmp_path, MmkdError, "differs from the original")

    def test_tolerance_can_be_raised(self, tmp_path):
        made = students.tree()
        predict = made.model.predict
        made.model.predict = lambda inputs: {"logits": predict(inputs)["logits"] + np.float32(0.01)}
        self.refused(made, tmp_path, MmkdError, "differs from the original by 0.01")
        bundle = made.export(tmp_path / "bundle", tolerance=0.02)
        assert bundle.max_abs_difference == pytest.approx(0.01, rel=1e-3)
        assert bundle.manifest["parity"]["tolerance"] == 0.02


class Doubles(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x):
        return x[:, : self.scores] * 2


class TestGraph:
    def graph(self, nodes, inputs, outputs, initialisers=()):
        ports = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in names] for names in (inputs, outputs)
        ]
        return helper.make_model(helper.make_graph(nodes, "g", *ports, list(initialisers)))

    def test_inputs_must_be_the_declared_ones(self):
        proto = self.graph([helper.make_node("Add", ["x", "lidar"], ["y"])], ["x", "lidar"], ["y"])
        graph.check_inputs(proto, ["lidar", "x"], "student")
        with pytest.raises(BindingError, match="has the inputs x, lidar, and the student is bound to x"):
            graph.check_inputs(proto, ["x"], "student")
        with pytest.raises(BindingError, match="bound to x, lidar, t1"):
            graph.check_inputs(proto, ["x", "lidar", "t1"], "student")

    def test_data_outside_the_model_is_refused(self):
        weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
        weight.data_location = TensorProto.EXTERNAL
        proto = self.graph([helper.make_node("Add", ["x", "w"], ["y"])], ["x"], ["y"], [weight])
        with pytest.raises(BindingError, match="'w' in a file outside"):
            graph.check_inputs(proto, ["x"], "student")

    def test_the_exporter_is_kept_quiet(self, caplog, capsys):
        with graph._quiet():
            logging.getLogger("onnx_ir").warning("chatter")
            warnings.warn("chatter", stacklevel=1)
            print("chatter")
        assert not caplog.records
        assert capsys.readouterr() == ("", "")
        logging.getLogger("onnx_ir").warning("heard again")
        assert len(caplog.records) == 1

    def test_inputs_that_reach_no_output(self):
        branch = helper.make_graph(
            [helper.make_node("Neg", ["b"], ["t"])],
            "t",
            [],
            [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
        )
        nodes = [
            helper.make_node("ReduceMax", ["a"], ["m"]),
            helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
            helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
            helper.make_node("Shape", ["s"], ["size"]),
            helper.make_node("Expand", ["y", "size"], ["z"]),
            helper.make_node("Neg", ["d"], ["dead"]),
        ]
        proto = self.graph(nodes, ["a", "b", "s", "d", "e"], ["z"])
        assert graph.unused_inputs(proto) == ["s", "d", "e"]


class TestVerify:
    @pytest.mark.parametrize("name", ALL)
    def test_a_copy_that_is_whole(self, exported, name):
        found = verify(exported(name)[1].path)
        assert found.reads == ALL[name]
        assert found.rows == {"gru": 6, "two_fields": 7, "shift": 5}.get(name, 8)
        assert found.max_abs_difference["logits"] <= 1e-5

    def test_without_examples(self, tmp_path):
        bundle = students.tree().export(tmp_path / "bundle", examples=False)
        assert sorted(file.name for file in bundle.path.iterdir()) == ["manifest.json", "model.onnx"]
        assert verify(bundle.path).rows == 0

    def test_the_place_stays_as_it_was_named(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        bundle = students.tree().export("bundle")
        assert bundle.describe().splitlines()[0] == "bundle   bundle"
        assert bundle.load().manifest == bundle.manifest

    def test_another_model_under_the_same_manifest(self, exported):
        student = exported("mlp")[1].load()
        other = Student(
            {**student.manifest, "reads": ["x", "lidar"]}, (exported("mlp")[1].path / "model.onnx").read_bytes()
        )
        with pytest.raises(MmkdError, match="inputs are x, and its manifest declares x, lidar"):
            check_ports(other)

    def test_needs_no_torch(self, exported):
        path = str(exported("graph")[1].path)
        code = (
            "import sys; from mmkd.deployment.verify import verify; verify(sys.argv[1]); 'torch' in sys.modules and 1/0"
        )
        subprocess.run([sys.executable, "-c", code, path], check=True)

    def test_compare(self):
        one = {"y": np.array([1.0, 100.0])}
        assert compare(one, {"y": np.array([1.0, 100.0005])}, 1e-5)["y"]["scale"] == 100
        for wrong in ([1.0, 100.002], [1.0, np.nan], [[1.0], [100.0]]):
            with pytest.raises(MmkdError):
                compare(one, {"y": np.array(wrong)}, 1e-5)
        with pytest.raises(MmkdError, match="NaN"):
            compare({"y": np.array([np.nan])}, {"y": np.array([np.nan])}, 1e-5)
