"""Layouts by name, and taps: paths, clones, guesses and their errors."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import LayoutError
from mmkd.layouts import (
    BEV,
    CORE_LAYOUTS,
    MAP,
    NODES,
    SERIES,
    TOKENS,
    VECTOR,
    VOLUME,
    Layout,
    Spec,
    Specs,
    layout_named,
)
from mmkd.taps import Taps, guess_layout


class Net(nn.Module):
    """Named parts in a row; `forward` as given."""

    def __init__(self, forward=None, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = forward

    def forward(self, x):
        if self.run:
            return self.run(self, x)
        for part in self.children():
            x = part(x)
        return x


class Parts(nn.Module):
    """Gives back what `make` makes of its input."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


def batch_of(x):
    rows = torch.arange(len(x))
    return View(Dataset({"x": Field(tuple(x.shape[1:]))}, {"x": x}), rows, rows).batch(rows)


def bound(model, taps, layouts=None):
    return Bound(model, bind(type(model).forward, {"x": Field()}), taps, layouts)


# --- layouts ----------------------------------------


def test_core_layouts_are_found_by_name_and_know_their_axes():
    assert [layout_named(layout.name) for layout in CORE_LAYOUTS] == list(CORE_LAYOUTS)
    assert [(layout.rank, layout.channel_axis) for layout in (VECTOR, TOKENS, SERIES, MAP)] == [
        (2, 1),
        (3, 2),
        (3, 1),
        (4, 1),
    ]


def test_a_plugins_layout_is_found_among_those_given_or_by_its_axes():
    polar = Layout("polar", "B C R A")
    assert (
        layout_named("polar", [polar]) == layout_named("polar [B C R A]") == layout_named(" polar[B  C R A] ") == polar
    )
    assert layout_named(str(BEV)) == BEV


def test_an_unknown_layout_lists_those_that_there_are():
    with pytest.raises(
        LayoutError, match=r"unknown layout 'voxels'; one of: vector, tokens, .*as in \"voxels \[B C X\]\""
    ):
        layout_named("voxels")


def test_axes_that_contradict_a_known_layout_are_refused():
    with pytest.raises(LayoutError, match=r"'map \[B H W C\]' contradicts map \[B C H W\]"):
        layout_named("map [B H W C]")


def test_a_layout_without_channels_says_so():
    with pytest.raises(LayoutError, match=r"layout mask \[B H W\] has no channel axis"):
        Spec(Layout("mask", "B H W"), (3, 4)).channels  # noqa: B018


def test_channels_stand_where_the_layout_says():
    assert [Spec(TOKENS, (9, 5)).channels, Spec(SERIES, (5, 9)).channels, Spec(VOLUME, (5, 2, 3, 4)).channels] == [
        5,
        5,
        5,
    ]


def test_a_missing_role_lists_the_taps():
    with pytest.raises(LayoutError, match=r"the student has no tap 'hint' \(taps: a, b\); .*taps = \{ hint = "):
        Specs(features={"b": Spec(VECTOR, (1,)), "a": Spec(VECTOR, (1,))}).feature("hint", "the student")


# --- paths ----------------------------------------


def test_a_path_reaches_into_tuples_and_dicts():
    model = Net(
        gru=nn.GRU(3, 4, batch_first=True),
        pick=Parts(lambda pair: {"paper": pair[0] + 1, "deep": [pair[1], {"x": pair[0] * 2}]}),
        end=Parts(lambda parts: parts["paper"]),
    )
    x = torch.randn(2, 5, 3)
    taps = Taps(model, {"all": "gru.0", "last": "gru.1", "paper": "pick.paper", "deep": "pick.deep.1.x", "whole": ""})
    with taps.record() as features:
        said = model(x)
    steps, last = model.gru(x)
    expected = {"all": steps, "last": last, "paper": steps + 1, "deep": steps * 2, "whole": said}
    assert set(features) == set(expected)
    for role, value in expected.items():
        assert torch.equal(features[role], value), role


def test_a_module_inside_a_container_is_found():
    model = Net(encoder=nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 5))))
    with Taps(model, {"hint": "encoder.2.0"}).record() as features:
        assert torch.equal(model(torch.ones(2, 3)), features["hint"])


def test_an_unknown_path_lists_the_modules_near_ones_first():
    model = Net(stem=nn.Linear(3, 3), encoder=nn.Linear(3, 3))
    with pytest.raises(LayoutError, match="tap path 'enkoder' names no module of Net; its modules: encoder, stem"):
        Taps(model, {"hint": "enkoder"})
    long = nn.Sequential(*[nn.Identity() for _ in range(30)])
    with pytest.raises(LayoutError, match=r"its modules: 0, 1, .* and 10 more"):
        Taps(long, {"hint": "stem"})


def test_an_unknown_part_of_a_module_lists_its_modules():
    model = Net(encoder=nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    with (
        pytest.raises(
            LayoutError, match=r"tap 'hint': 'encoder\.2' does not reach '2' in the output, a Tensor; its modules: enc"
        ),
        Taps(model, {"hint": "encoder.2"}).record(),
    ):
        model(torch.ones(1, 3))


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("pick.z", r"does not reach 'z' in the output, a dict of 'a', 'b'$"),
        ("pick.a.2", r"does not reach '2' in the output, a tuple of 2 parts$"),
        ("pick.a.x", r"does not reach 'x' in the output, a tuple of 2 parts$"),
        ("pick.b.0", r"does not reach '0' in the output, a Tensor$"),
        ("pick", r"gives a dict of 'a', 'b', not a Tensor; reach into it: \"pick\.0\" or \"pick\.key\""),
        ("pick.a", r"gives a tuple of 2 parts, not a Tensor"),
    ],
)
def test_an_output_that_the_path_does_not_fit_is_described(path, complaint):
    model = Net(pick=Parts(lambda x: {"a": (x, x), "b": x}))
    with pytest.raises(LayoutError, match=complaint), Taps(model, {"hint": path}).record():
        model(torch.ones(1, 3))


def test_a_module_that_does_not_run_is_named():
    model = Net(lambda self, x: self.used(x), used=nn.Linear(3, 3), spare=nn.Linear(3, 3))
    taps = Taps(model, {"hint": "spare"})
    with pytest.raises(LayoutError, match="tap 'hint': module 'spare' did not run in this forward"), taps.record():
        model(torch.ones(1, 3))


def test_an_error_of_the_model_itself_comes_through_and_leaves_no_hook():
    model = Net(first=nn.Linear(3, 3), last=nn.Linear(4, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), Taps(model, {"hint": "first"}).record():
        model(torch.ones(1, 3))
    assert not model.first._forward_hooks


def test_a_module_that_runs_twice_gives_its_last_output():
    model = Net(lambda self, x: self.cell(self.cell(x)), cell=nn.Linear(3, 3))
    x = torch.randn(2, 3)
    with Taps(model, {"hint": "cell"}).record() as features:
        assert torch.equal(model(x), features["hint"])


def test_taps_that_are_not_kept_are_not_collected():
    model = Net(a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    taps = Taps(model, {"a": "a", "b": "b"})
    taps.keep({"b"})
    with taps.record() as features:
        model(torch.ones(1, 3))
    assert set(features) == {"b"}
    assert taps.roles == {"a", "b"}


# --- in-place operations ----------------------------------------


def in_place_net():
    return Net(lin=nn.Linear(3, 4), act=nn.ReLU(inplace=True), last=nn.Linear(4, 2))


def test_a_tensor_that_is_overwritten_is_cloned_and_no_other():
    torch.manual_seed(0)
    model = in_place_net()
    x = torch.randn(6, 3)
    student = bound(model, {"pre": "lin", "post": "act"})
    assert student.taps.clones == {"pre", "post"}, "until it is known which is overwritten"
    specs = student.measure(batch_of(x))
    assert student.taps.clones == {"pre"}
    assert {role: spec.shape for role, spec in specs.features.items()} == {"pre": (4,), "post": (4,)}
    features = student(batch_of(x)).features
    expected = x @ model.lin.weight.T + model.lin.bias
    assert (expected < 0).any()
    assert torch.allclose(features["pre"], expected)
    assert torch.allclose(features["post"], expected.clamp(min=0))


@pytest.mark.parametrize("measured", [True, False])
def test_the_gradient_flows_through_a_clone(measured):
    model = in_place_net()
    x = torch.randn(6, 3)
    student = bound(model, {"pre": "lin"})
    if measured:
        student.measure(batch_of(x))
    student(batch_of(x)).features["pre"].sum().backward()
    assert torch.allclose(model.lin.weight.grad, x.sum(0).expand(4, 3))


def test_in_place_dropout_that_a_dry_run_in_eval_mode_cannot_show():
    model = Net(lin=nn.Linear(3, 50), flat=nn.Flatten(), drop=nn.Dropout(0.9, inplace=True))
    student = bound(model, {"hint": "lin"})
    x = torch.randn(6, 3)
    student.train().measure(batch_of(x))
    assert torch.allclose(student(batch_of(x)).features["hint"], x @ model.lin.weight.T + model.lin.bias)


def test_a_tensor_that_is_overwritten_after_all_is_an_error_and_not_a_wrong_value():
    model = Net(lambda self, x: self.lin(x).relu_() if self.training else self.lin(x), lin=nn.Linear(3, 4))
    student = bound(model, {"hint": "lin"})
    student.measure(batch_of(torch.randn(6, 3)))
    with pytest.raises(LayoutError, match="tap 'hint' at 'lin' was overwritten in place"):
        student.train()(batch_of(torch.randn(6, 3)))


def test_a_model_measured_in_inference_mode_is_cloned_in_doubt():
    student = bound(in_place_net(), {"pre": "lin"})
    x = torch.randn(6, 3)
    with torch.inference_mode():
        student.measure(batch_of(x))
        pre = student(batch_of(x)).features["pre"]
    assert torch.allclose(pre, x @ student.module.lin.weight.T + student.module.lin.bias)


def test_nothing_of_a_forward_is_kept_alive():
    student = bound(in_place_net(), {"pre": "lin"})
    signals = student(batch_of(torch.randn(6, 3)))
    tapped = weakref.ref(signals.features["pre"])
    del signals
    gc.collect()
    assert tapped() is None


def test_a_copy_taps_its_own_modules():
    student = bound(in_place_net(), {"pre": "lin"})
    x = torch.randn(6, 3)
    student(batch_of(x))
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.module.lin.weight.zero_()
        other.module.lin.bias.fill_(2.0)
    assert torch.equal(other(batch_of(x)).features["pre"], torch.full((6, 4), 2.0))
    assert not torch.equal(student(batch_of(x)).features["pre"], torch.full((6, 4), 2.0))


# --- layouts of taps ----------------------------------------


@pytest.mark.parametrize(
    ("module", "shape", "layout"),
    [
        (nn.Linear(1, 1), (2, 3), VECTOR),
        (nn.Conv1d(1, 1, 1), (2, 3, 4), SERIES),
        (nn.BatchNorm1d(1), (2, 3, 4), SERIES),
        (nn.Linear(1, 1), (2, 3, 4), TOKENS),
        (nn.LayerNorm(1), (2, 3, 4), TOKENS),
        (nn.GRU(1, 1, batch_first=True), (2, 3, 4), TOKENS),
        (nn.Conv2d(1, 1, 1), (2, 3, 4, 5), MAP),
        (nn.MaxPool2d(1), (2, 3, 4, 5), MAP),
        (nn.Conv3d(1, 1, 1), (2, 3, 4, 5, 6), VOLUME),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_layouts_are_guessed_from_class_and_rank(module, shape, layout):
    assert guess_layout(module, torch.zeros(shape), relational=False) == layout


def test_rows_of_a_relational_model_are_nodes():
    assert guess_layout(nn.Linear(1, 1), torch.zeros(2, 3), relational=True) == NODES


@pytest.mark.parametrize(
    ("module", "shape", "keys"),
    [
        (nn.ReLU(), (2, 3, 4), ()),
        (nn.Sequential(nn.Conv2d(1, 1, 1)), (2, 3, 4, 5), ()),
        (nn.Linear(1, 1), (2, 3, 4, 5), ()),
        (nn.GRU(1, 1, batch_first=True), (2, 3, 4), ("1",)),
        (nn.MultiheadAttention(4, 1, batch_first=True), (2, 3, 4), ("1",)),
    ],
)
def test_a_layout_with_two_readings_is_not_guessed(module, shape, keys):
    with pytest.raises(LayoutError, match=f"a {type(module).__name__} with output .* fits more than one layout"):
        guess_layout(module, torch.zeros(shape), False, keys)


@pytest.mark.parametrize("module", [nn.LSTM(4, 4), nn.MultiheadAttention(4, 1), nn.TransformerEncoderLayer(4, 1)])
def test_time_before_the_batch_is_refused(module):
    with pytest.raises(LayoutError, match=r"batch_first=False gives \(2, 3, 4\): time stands before the batch"):
        guess_layout(module, torch.zeros(2, 3, 4), False, ("0",))


def test_a_guess_is_marked_a_declaration_is_not_and_ambiguity_waits_until_the_layout_is_needed():
    model = Net(lin=nn.Linear(3, 4), act=nn.ReLU(), sum=Parts(lambda x: x.mean(1)))
    batch = batch_of(torch.randn(2, 5, 3))
    features = bound(model, {"lin": "lin", "act": "act"}).measure(batch).features
    assert str(features["lin"]) == "tokens [5, 4] (guessed)"
    assert features["act"].layout is None
    with pytest.raises(
        LayoutError, match=r"tap 'act' at 'act': a ReLU with output .* fits more than one layout; declare it"
    ):
        features["act"].known_layout()
    declared = bound(model, {"lin": "lin", "act": "act"}, {"lin": SERIES, "act": "tokens", "logits": "vector"}).measure(
        batch
    )
    assert str(declared.features["lin"]) == "series [5, 4]"
    assert str(declared.features["act"]) == "tokens [5, 4]"
    assert declared.outputs["logits"] == Spec(VECTOR, (4,))


@pytest.mark.parametrize(
    ("layouts", "complaint"),
    [
        ({"lin": "map"}, r"'lin' is declared map \[B C H W\] but has shape \(2, 5, 4\)"),
        ({"lin": "voxels"}, "unknown layout 'voxels'"),
        ({"linn": "tokens"}, "a layout is declared for 'linn', which is no tap and no output; known: lin, logits"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(layouts, complaint):
    with pytest.raises(LayoutError, match=complaint):
        bound(Net(lin=nn.Linear(3, 4)), {"lin": "lin"}, layouts).measure(batch_of(torch.randn(2, 5, 3)))
