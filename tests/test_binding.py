"""The sensor contract: which fields a model reads, and what it says about a batch of them."""

import pytest
import torch
from torch import nn

from mmkd.binding import Binding, Bound, bind, input_fields
from mmkd.data import Dataset, Field, View
from mmkd.errors import BindingError, LayoutError
from mmkd.layouts import NODES

FIELDS = {
    "camera": Field((3, 8, 8), layout="map"),
    "depth": Field((1, 8, 8), layout="map", unit="m"),
    "small": Field((1, 4, 4), layout="map"),
    "wide": Field((None, 8, 8), layout="map"),
    "imu": Field((6, 20), layout="series", rate=50.0, normalisation=((0.0,) * 6, (1.0,) * 6)),
    "baro": Field((1, 20), layout="series", rate=50.0, normalisation=((5.0,), (2.0,))),
    "words": Field((12, 16), layout="tokens"),
    "more_words": Field((12, 4), layout="tokens"),
    "x": Field((4,), layout="vector"),
    "plain": Field((4,)),
    "also_plain": Field((4,)),
    "prompts": Field((10, 4), layout="vector", kind="constant"),
    "edge_index": Field((2, None), "int64", layout="edges", kind="relation"),
    "label": Field((), "int64", target=True, classes=("a", "b")),
}


def needs_camera(camera):
    pass


def has_option(camera, imu=None):
    pass


def anything(*args, **kwargs):
    pass


def test_required_parameters_are_fields_by_name():
    binding = bind(needs_camera, FIELDS)
    assert binding == Binding({"camera": ("camera",)}, {}, relational=False)
    assert binding.fields == ("camera",)


def test_self_is_left_out_of_a_class_and_of_an_instance():
    class Model(nn.Module):
        def forward(self, camera, *, imu):
            pass

    for forward in (Model.forward, Model().forward):
        assert bind(forward, FIELDS).fields == ("camera", "imu")


def test_an_optional_parameter_is_passed_only_if_listed():
    assert bind(has_option, FIELDS).fields == ("camera",)
    assert bind(has_option, FIELDS, {"imu": "baro"}).inputs == {"camera": ("camera",), "imu": ("baro",)}


def test_an_explicit_binding_wins_over_the_name():
    assert bind(needs_camera, FIELDS, {"camera": "depth"}).fields == ("depth",)


def test_a_relation_makes_the_model_relational():
    def graph(x, edge_index):
        pass

    assert bind(graph, FIELDS).relational
    assert not bind(needs_camera, FIELDS, {"camera": "prompts"}).relational


@pytest.mark.parametrize(
    ("names", "axis", "shape"),
    [
        (["camera", "depth"], 1, (4, 8, 8)),
        (["imu", "baro"], 1, (7, 20)),
        (["words", "more_words"], 2, (12, 20)),
        (["x", "x", "x"], 1, (12,)),
    ],
)
def test_a_list_is_concatenated_along_the_channels_of_its_layout(names, axis, shape):
    binding = bind(needs_camera, FIELDS, {"camera": names})
    assert binding.axes == {"camera": axis}
    assert input_fields(binding, FIELDS)["camera"].shape == shape
    rows = torch.arange(5)
    samples = {name: torch.randn(5, *FIELDS[name].shape) for name in set(names)}
    batch = View(Dataset({name: FIELDS[name] for name in samples}, samples), rows, rows).batch(rows[1:3])
    gathered = binding.gather(batch)["camera"]
    assert gathered.shape == (2, *shape)
    assert torch.equal(gathered, torch.cat([samples[name][1:3] for name in names], axis))


def test_a_joint_field_says_what_all_its_parts_say():
    joint = input_fields(bind(needs_camera, FIELDS, {"camera": ["imu", "baro"]}), FIELDS)["camera"]
    assert (joint.rate, joint.layout, joint.kind) == (50.0, "series", "sample")
    assert joint.normalisation == ((0.0,) * 6 + (5.0,), (1.0,) * 6 + (2.0,))
    mixed = input_fields(bind(needs_camera, FIELDS, {"camera": ["camera", "depth"]}), FIELDS)["camera"]
    assert (mixed.unit, mixed.normalisation) == ("", None)
    assert input_fields(bind(needs_camera, FIELDS), FIELDS)["camera"] is FIELDS["camera"]


def only_args(*args):
    pass


def by_position(camera, /):
    pass


def nothing():
    pass


def wants_lidar(lidar):
    pass


def wants_label(label):
    pass


@pytest.mark.parametrize(
    ("forward", "inputs", "complaint"),
    [
        (anything, None, r"student: forward takes \*args or \*\*kwargs.*bind them: inputs = "),
        (only_args, None, r"forward takes \*args or \*\*kwargs"),
        (only_args, {"x": "camera"}, "inputs names 'x', but its parameters are unnamed"),
        (by_position, None, "forward takes camera by position alone.*remove the `/`"),
        (nothing, None, "student: forward reads nothing"),
        (
            wants_lidar,
            None,
            "parameter 'lidar' reads field 'lidar', which the data does not have; bind it: .*fields: camera",
        ),
        (needs_camera, {"camera": "lidar"}, "parameter 'camera' reads field 'lidar'"),
        (needs_camera, {"imu": "imu"}, "inputs names 'imu', but its parameters are camera"),
        (needs_camera, {"camera": []}, "inputs gives parameter 'camera' an empty list"),
        (wants_label, None, "field 'label' is a label and cannot be an input"),
        (needs_camera, {"camera": "label"}, "field 'label' is a label and cannot be an input"),
        (needs_camera, {"camera": ["camera", "label"]}, "field 'label' is a label and cannot be an input"),
        (needs_camera, {"camera": ["camera", "imu"]}, "camera, imu cannot be concatenated: layout map and series"),
        (needs_camera, {"camera": ["plain", "also_plain"]}, "cannot be concatenated: layout undeclared; declare one"),
        (needs_camera, {"camera": ["x", "prompts"]}, "one row per sample can be, not a constant"),
        (
            needs_camera,
            {"camera": ["camera", "small"]},
            r"differ in more than channels: camera \[3, 8, 8\], small \[1, 4, 4\]",
        ),
    ],
)
def test_a_binding_that_cannot_be_is_refused(forward, inputs, complaint):
    with pytest.raises(BindingError, match=complaint):
        bind(forward, FIELDS, inputs, owner="student")


def test_kwargs_take_an_explicit_binding():
    assert bind(anything, FIELDS, {"left": "camera", "right": "depth"}).fields == ("camera", "depth")


def test_names_of_channels_are_joined_where_every_part_has_them():
    def tree(x): ...

    fields = {
        "a": Field((2,), layout="vector", channels=("p", "q")),
        "b": Field((1,), layout="vector", channels=("r",)),
        "c": Field((1,), layout="vector"),
    }
    joined = {
        some: input_fields(bind(tree, fields, {"x": list(some)}), fields)["x"].channels for some in ("ab", "ba", "ac")
    }
    assert joined == {"ab": ("p", "q", "r"), "ba": ("r", "p", "q"), "ac": ()}


def test_a_varying_channel_count_has_no_joint_field():
    binding = bind(needs_camera, FIELDS, {"camera": ["camera", "wide"]})
    with pytest.raises(BindingError, match="without a fixed channel count"):
        input_fields(binding, FIELDS)


# --- bound models ----------------------------------------


class Mean(nn.Module):
    """One step of neighbour averaging; each module sees all rows."""

    taps = {"hidden": "lin"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 3)

    def forward(self, x, edge_index):
        hidden = self.lin(x)
        neighbours = torch.zeros_like(hidden).index_add(0, edge_index[1], hidden[edge_index[0]])
        return {"logits": hidden + neighbours, "penalty": hidden.square().mean()}


def graph(hidden=None):
    torch.manual_seed(0)
    x, edges = torch.randn(7, 4), torch.tensor([[0, 1, 2, 3, 6, 5], [1, 2, 3, 4, 5, 6]])
    fields = {name: FIELDS[name] for name in ("x", "edge_index", "label")}
    dataset = Dataset(fields, {"x": x, "label": torch.zeros(7, dtype=torch.long)}, relations={"edge_index": edges})
    rows = torch.arange(7)
    return View(dataset, rows, rows, hidden), x, edges


def test_a_relational_model_says_of_a_batch_what_it_says_of_all_rows():
    view, x, edges = graph()
    model = Bound(Mean(), bind(Mean.forward, view.fields))
    index = torch.tensor([5, 2, 2])
    said = model(view.batch(index))
    whole = model.module(x, edges)
    assert torch.equal(said.logits, whole["logits"][index])
    assert torch.equal(said.features["hidden"], model.module.lin(x)[index])
    assert torch.equal(said.outputs["penalty"], whole["penalty"]), "a value without rows stays as it is"


def test_hidden_rows_are_invisible_to_a_relational_model():
    hidden = torch.tensor([1])
    view, x, edges = graph(hidden)
    model = Bound(Mean(), bind(Mean.forward, view.fields))
    kept = edges[:, (edges != 1).all(0)]
    expected = model.module(x.index_fill(0, hidden, 0.0), kept)["logits"]
    assert torch.equal(model(view.batch(torch.arange(7))).logits, expected)
    gathered = model.binding.gather(view.batch(torch.tensor([3])))
    assert torch.equal(gathered["x"][1], torch.zeros(4))
    assert len(gathered["x"]) == 7


def test_a_relational_model_is_measured_on_nodes():
    view, _, _ = graph()
    specs = Bound(Mean(), bind(Mean.forward, view.fields)).measure(view.batch(torch.tensor([0, 4])))
    assert specs.features["hidden"].layout == NODES
    assert {name: spec.shape for name, spec in specs.outputs.items()} == {"logits": (3,), "penalty": ()}


class Small(nn.Module):
    taps = {"norm": "norm"}  # noqa: RUF012
    layouts = {"norm": "vector"}  # noqa: RUF012

    def __init__(self, transpose=False):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.BatchNorm1d(4).eval()
        self.transpose = transpose

    def forward(self, x):
        x = self.frozen(self.norm(x))
        return x.T if self.transpose else x


def batch_of(x):
    rows = torch.arange(len(x))
    return View(Dataset({"x": FIELDS["x"]}, {"x": x}), rows, rows).batch(rows)


def test_measuring_changes_nothing_in_the_model():
    model = Bound(Small(), bind(Small.forward, FIELDS))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.measure(batch_of(torch.randn(5, 4)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.module.norm.training
    assert not model.module.frozen.training, "a part that was in eval mode stays so"


def test_taps_and_layouts_come_from_the_model_unless_they_are_given():
    own = Bound(Small(), bind(Small.forward, FIELDS)).measure(batch_of(torch.randn(5, 4)))
    assert str(own.features["norm"]) == "vector [4]"
    given = Bound(Small(), bind(Small.forward, FIELDS), {"norm": "frozen", "more": "norm"}, {"more": NODES})
    specs = given.measure(batch_of(torch.randn(5, 4)))
    assert (specs.features["norm"].path, specs.features["more"].path) == ("frozen", "norm")
    assert specs.features["more"].layout == NODES


def test_axis_0_must_be_the_batch():
    with pytest.raises(
        LayoutError, match=r"output 'logits' has shape \(4, 5\) for a batch of 5: axis 0 must be the batch"
    ):
        Bound(Small(transpose=True), bind(Small.forward, FIELDS)).measure(batch_of(torch.randn(5, 4)))


def test_a_model_that_returns_a_tuple_is_told_to_name_its_parts():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(TypeError, match="a Tensor or a dict of named Tensors, not tuple"):
        Bound(Pair(), bind(Pair.forward, FIELDS))(batch_of(torch.randn(5, 4)))
