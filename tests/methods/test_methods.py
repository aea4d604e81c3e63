"""Each method against its loss by hand: values, gradients, roles, errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import losses
from mmkd.adapters import Chain, Identity
from mmkd.adapters.map import resize
from mmkd.components import Factory
from mmkd.data import Dataset, Field, View
from mmkd.errors import BindingError, ConfigError, LayoutError
from mmkd.layouts import MAP, SERIES, TOKENS, VECTOR, VOLUME, Spec, Specs
from mmkd.methods import Method
from mmkd.methods.attention_transfer import AttentionTransfer
from mmkd.methods.fitnets import FitNets
from mmkd.methods.rkd import RKD
from mmkd.methods.similarity_preserving import SimilarityPreserving
from mmkd.methods.soft_targets import SoftTargets
from mmkd.signals import Signals

B = 6
STUDENT = Specs(
    {"logits": Spec(None, (5,))},
    {
        "penultimate": Spec(VECTOR, (8,)),
        "stage1": Spec(MAP, (3, 6, 6)),
        "stage2": Spec(MAP, (4, 3, 4)),
        "own": Spec(MAP, (2, 2, 2)),
    },
)
TEACHER = Specs(
    {"logits": Spec(None, (5,))},
    {
        "penultimate": Spec(VECTOR, (12,)),
        "stage1": Spec(MAP, (7, 6, 6)),
        "stage2": Spec(MAP, (9, 4, 2)),
        "words": Spec(TOKENS, (5, 12)),
    },
)


def signals(specs, seed=0, **sizes):
    generator = torch.Generator().manual_seed(seed)

    def draw(spec):
        return torch.randn(B, *spec.shape, generator=generator).requires_grad_()

    features = {role: draw(spec) for role, spec in specs.features.items()}
    return Signals({name: draw(spec) for name, spec in specs.outputs.items()}, features)


def batch_with(**samples):
    rows = torch.arange(B)
    fields = {
        name: Field(tuple(value.shape[1:]), str(value.dtype).removeprefix("torch.")) for name, value in samples.items()
    }
    return View(Dataset(fields, samples), rows, rows).batch(rows)


class Case(NamedTuple):
    """A method, and what it must give by hand: `by_hand(method, student, teacher)`."""

    method: type[Method]
    config: dict[str, Any]
    by_hand: Callable[[Any, Signals, Signals], dict[str, Tensor]]
    reads: dict[str, set[str]]


CASES = {
    "soft-targets": Case(
        SoftTargets,
        {"temperature": 3.0},
        lambda m, s, t: {
            "kl": 9 * F.kl_div((s.logits / 3).log_softmax(1), (t.logits / 3).softmax(1), reduction="batchmean")
        },
        {},
    ),
    "fitnets": Case(
        FitNets,
        {"student_role": "penultimate"},
        lambda m, s, t: {
            "hint": F.mse_loss(F.linear(s.features["penultimate"], *m.adapter.parameters()), t.features["penultimate"])
        },
        {"student": {"penultimate"}, "teacher": {"penultimate"}},
    ),
    "fitnets-between-layouts": Case(
        FitNets,
        {"student_role": "stage1", "teacher_role": "penultimate"},
        lambda m, s, t: {
            "hint": F.mse_loss(m.adapter.parts[1].project(s.features["stage1"].mean((2, 3))), t.features["penultimate"])
        },
        {"student": {"stage1"}, "teacher": {"penultimate"}},
    ),
    "attention-transfer": Case(
        AttentionTransfer,
        {},
        lambda m, s, t: {
            "stage1": losses.attention_transfer(s.features["stage1"], t.features["stage1"], power=2),
            "stage2": losses.attention_transfer(
                resize(s.features["stage2"], (3, 2)), resize(t.features["stage2"], (3, 2)), power=2
            ),
        },
        {"student": {"stage1", "stage2"}, "teacher": {"stage1", "stage2"}},
    ),
    "attention-transfer-of-one": Case(
        AttentionTransfer,
        {"roles": ("stage1",), "power": 3.0},
        lambda m, s, t: {"stage1": losses.attention_transfer(s.features["stage1"], t.features["stage1"], power=3)},
        {"student": {"stage1"}, "teacher": {"stage1"}},
    ),
    "rkd": Case(
        RKD,
        {},
        lambda m, s, t: {
            "distance": 25 * losses.rkd_distance(s.features["penultimate"], t.features["penultimate"]),
            "angle": 50 * losses.rkd_angle(s.features["penultimate"], t.features["penultimate"]),
        },
        {"student": {"penultimate"}, "teacher": {"penultimate"}},
    ),
    "rkd-of-other-roles": Case(
        RKD,
        {"role": "stage1", "teacher_role": "words", "distance": 2.0, "angle": 0.0},
        lambda m, s, t: {
            "distance": 2 * losses.rkd_distance(s.features["stage1"].flatten(1), t.features["words"].flatten(1))
        },
        {"student": {"stage1"}, "teacher": {"words"}},
    ),
    "similarity-preserving": Case(
        SimilarityPreserving,
        {"role": "stage2", "teacher_role": "stage1"},
        lambda m, s, t: {"similarity": losses.similarity_preserving(s.features["stage2"], t.features["stage1"])},
        {"student": {"stage2"}, "teacher": {"stage1"}},
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def test_the_losses_are_those_by_hand(case):
    method = case.method(STUDENT, {"teacher": TEACHER}, **case.config)
    student, teacher = signals(STUDENT), signals(TEACHER, 1)
    said = method(student, {"teacher": teacher}, None)
    expected = case.by_hand(method, student, teacher)
    assert list(said) == list(expected)
    for name, value in said.items():
        assert value.shape == ()
        assert value > 0
        assert torch.allclose(value, expected[name], rtol=1e-5), name


def test_gradients_reach_the_student_and_the_adapters_and_never_the_teacher(case):
    method = case.method(STUDENT, {"teacher": TEACHER}, **case.config)
    student, teacher = signals(STUDENT), signals(TEACHER, 1)
    sum(method(student, {"teacher": teacher}, None).values()).backward()
    read = [student.features[role] for role in case.reads.get("student", ())] or [student.logits]
    assert all(tensor.grad.abs().sum() > 0 for tensor in [*read, *method.parameters()])
    assert all(tensor.grad is None for tensor in [*teacher.outputs.values(), *teacher.features.values()])


def test_a_method_reads_the_roles_that_it_uses_and_no_others(case):
    method = case.method(STUDENT, {"teacher": TEACHER}, **case.config)
    assert method.reads == case.reads
    student, teacher = signals(STUDENT), signals(TEACHER, 1)
    full = method(student, {"teacher": teacher}, None)
    kept = [
        Signals(side.outputs, {role: side.features[role] for role in case.reads.get(name, ())})
        for name, side in (("student", student), ("teacher", teacher))
    ]
    assert method(kept[0], {"teacher": kept[1]}, None) == full


def test_another_source_is_read_by_name(case):
    sources = {"other": STUDENT, "flair": TEACHER}
    method = case.method(STUDENT, sources, source="flair", **case.config)
    student, teacher = signals(STUDENT), signals(TEACHER, 1)
    assert method(student, {"other": signals(STUDENT), "flair": teacher}, None).keys()
    assert set(method.reads) <= {"student", "flair"}
    with pytest.raises(ConfigError, match="source 'teacher', which the recipe does not define; sources: other, flair"):
        case.method(STUDENT, sources, **case.config)


def test_a_method_is_built_from_a_recipes_table_and_says_where_it_is_from(case):
    use = next(name for name in CASES if CASES[name] is case)
    table = {key: list(value) if isinstance(value, tuple) else value for key, value in case.config.items()}
    names = {
        SoftTargets: "soft-targets",
        FitNets: "fitnets",
        AttentionTransfer: "attention-transfer",
        RKD: "rkd",
        SimilarityPreserving: "similarity-preserving",
    }
    method = Factory("methods", {"use": names[case.method], **table})(STUDENT, {"teacher": TEACHER})
    assert isinstance(method, case.method), use
    assert "arXiv" in method.citation


def test_a_perfect_student_loses_nothing(case):
    student = signals(TEACHER)
    both = {key: "stage1" for key in ("role", "teacher_role", "student_role") if key in case.config}
    method = case.method(TEACHER, {"teacher": TEACHER}, **{**case.config, **both})
    for value in method(student, {"teacher": student}, None).values():
        assert value.abs() < 1e-5


# --- soft targets ----------------------------------------


def test_classes_of_a_segmentation_stand_on_axis_1_and_of_tokens_on_the_last():
    pixels = Specs({"mask": Spec(None, (5, 4, 4))})
    words = Specs({"tags": Spec(TOKENS, (7, 5))})
    for specs, name, axis in ((pixels, "mask", 1), (words, "tags", 2)):
        student, teacher = signals(specs), signals(specs, 1)
        said = SoftTargets(specs, {"teacher": specs}, output=name)(student, {"teacher": teacher}, None)["kl"]
        expected = losses.soft_targets(student.outputs[name], teacher.outputs[name], temperature=4.0, dim=axis)
        assert torch.equal(said, expected)


@pytest.mark.parametrize("method", [SoftTargets, FitNets])
def test_a_mask_is_read_from_the_batch(method):
    specs = Specs({"logits": Spec(None, (5,))}, {"hint": Spec(VECTOR, (5,))})
    student, teacher = signals(specs), signals(specs, 1)
    mask = torch.tensor([True, False, True, True, False, True])
    made = method(specs, {"teacher": specs}, mask="valid")
    (said,) = made(student, {"teacher": teacher}, batch_with(valid=mask)).values()
    taken = [side.map(lambda tensor: tensor[mask]) for side in (student, teacher)]
    (expected,) = method(specs, {"teacher": specs})(taken[0], {"teacher": taken[1]}, None).values()
    assert torch.allclose(said, expected)
    with pytest.raises(BindingError, match="no field 'valid'"):
        made(student, {"teacher": teacher}, batch_with(x=mask))


@pytest.mark.parametrize(
    ("student", "teacher", "config", "complaint"),
    [
        ((7,), (10,), {}, "'logits' has 7 classes in the student, 10 in source 'teacher'"),
        ((5, 4, 4), (5, 8, 8), {}, r"'logits' is \? \[5, 4, 4\] in the student, \? \[5, 8, 8\] in source 'teacher'"),
        ((5, 4), (5,), {}, "'logits' is"),
        ((), (), {}, "'logits' of the student has no class axis"),
        ((5,), (5,), {"output": "boxes"}, r"the student has no output 'boxes' \(outputs: logits\); set output"),
        ((5,), (5,), {"temperature": 0.0}, "temperature = 0.0 is not positive"),
        ((5,), (5,), {"temperature": float("nan")}, "temperature = nan"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(student, teacher, config, complaint):
    sides = [Specs({"logits": Spec(None, shape)}) for shape in (student, teacher)]
    with pytest.raises(ConfigError, match=complaint):
        SoftTargets(sides[0], {"teacher": sides[1]}, **config)


def test_outputs_of_two_layouts_are_refused():
    with pytest.raises(ConfigError, match=r"is tokens \[5, 5\] in the student, series \[5, 5\]"):
        SoftTargets(Specs({"logits": Spec(TOKENS, (5, 5))}), {"teacher": Specs({"logits": Spec(SERIES, (5, 5))})})


def test_a_missing_output_of_the_source_is_named():
    with pytest.raises(ConfigError, match=r"source 'teacher' has no output 'logits' \(outputs: none\)"):
        SoftTargets(STUDENT, {"teacher": Specs()})


# --- FitNets ----------------------------------------


def test_the_adapter_is_the_one_of_the_layouts_or_the_one_that_is_named():
    def made(**config):
        table = {"use": "fitnets", "student_role": "stage1", "teacher_role": "penultimate", **config}
        return Factory("methods", table)(STUDENT, {"teacher": TEACHER}).adapter

    assert [type(part).__name__ for part in made().parts] == ["MapToVector", "Linear"]
    named = made(adapter={"use": "map-to-tokens"})
    assert isinstance(named, Chain)
    assert [type(part).__name__ for part in named.parts] == ["MapToTokens", "TokensToVector", "Linear"]
    assert isinstance(FitNets(TEACHER, {"teacher": TEACHER}, student_role="stage1").adapter, Identity)


def test_the_adapter_is_trained_with_the_method():
    method = FitNets(STUDENT, {"teacher": TEACHER}, student_role="penultimate")
    assert {name for name, _ in method.named_parameters()} == {"adapter.project.weight", "adapter.project.bias"}


def test_an_unknown_adapter_setting_is_refused():
    with pytest.raises(ConfigError, match=r"unknown key 'adapters\.biass' of 'linear'; did you mean 'bias'"):
        Factory("methods", {"use": "fitnets", "adapter": {"use": "linear", "biass": False}})


# --- attention transfer ----------------------------------------


def test_attention_is_defined_for_series_and_volumes_too():
    specs = [
        Specs({}, {"time": Spec(SERIES, (3, 20)), "body": Spec(VOLUME, (3, 4, 4, 4)), "vector": Spec(VECTOR, (3,))}),
        Specs({}, {"time": Spec(SERIES, (5, 8)), "body": Spec(VOLUME, (5, 2, 6, 4)), "vector": Spec(VECTOR, (3,))}),
    ]
    method = AttentionTransfer(specs[0], {"teacher": specs[1]})
    assert method.roles == ("time", "body")
    said = method(signals(specs[0]), {"teacher": signals(specs[1], 1)}, None)
    assert all(torch.isfinite(value) for value in said.values())


def test_each_role_counts_once():
    method = AttentionTransfer(STUDENT, {"teacher": TEACHER}, roles=("stage2", "stage2"))
    assert list(method(signals(STUDENT), {"teacher": signals(TEACHER, 1)}, None)) == ["stage2"]


SMALL = Spec(MAP, (3, 4, 4))


@pytest.mark.parametrize(
    ("student", "teacher", "roles", "complaint"),
    [
        ({"a": SMALL}, {"b": SMALL}, (), r"\(taps: a map \[3, 4, 4\]\) .*\(taps: b map .* share no map"),
        ({"a": SMALL}, {"a": Spec(VOLUME, (3, 4, 4, 4))}, (), "share no map; give a tap the same role"),
        ({"a": Spec(TOKENS, (3, 4))}, {"a": Spec(TOKENS, (3, 4))}, (), "share no map"),
        ({"a": Spec(VECTOR, (3,))}, {"a": Spec(VECTOR, (3,))}, (), "share no map"),
        ({"a": Spec(None, (3, 4, 4))}, {"a": SMALL}, (), "share no map"),
        ({"a": SMALL}, {}, ("a",), r"source 'teacher' has no tap 'a' \(taps: none\)"),
        ({"a": Spec(TOKENS, (3, 4))}, {"a": SMALL}, ("a",), r"'a' of the student is tokens \[3, 4\], not a map"),
        ({"a": SMALL}, {"a": Spec(VECTOR, (3,))}, ("a",), "tap 'a' of source 'teacher' is vector"),
        ({"a": Spec(SERIES, (3, 4))}, {"a": SMALL}, ("a",), r"'a' is series \[3, 4\] in the student, map \[3, 4, 4\]"),
        ({"a": Spec(None, (3, 4), path="l.0")}, {"a": SMALL}, ("a",), r"layout of tap 'l\.0'.* is unknown"),
    ],
)
def test_features_that_are_no_maps_are_refused(student, teacher, roles, complaint):
    with pytest.raises(LayoutError, match=complaint):
        AttentionTransfer(Specs({}, student), {"teacher": Specs({}, teacher)}, roles=roles)


def test_a_power_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"power = 0\.5 is below 1"):
        AttentionTransfer(STUDENT, {"teacher": TEACHER}, power=0.5)


# --- relations ----------------------------------------


def test_a_weight_of_zero_leaves_its_part_out():
    said = RKD(STUDENT, {"teacher": TEACHER}, distance=0.0)(signals(STUDENT), {"teacher": signals(TEACHER, 1)}, None)
    assert list(said) == ["angle"]


@pytest.mark.parametrize(("distance", "angle"), [(0.0, 0.0), (-1.0, 50.0), (25.0, float("nan"))])
def test_weights_that_make_no_loss_are_refused(distance, angle):
    with pytest.raises(ConfigError, match="must be 0 or more, and not both 0"):
        RKD(STUDENT, {"teacher": TEACHER}, distance=distance, angle=angle)


@pytest.mark.parametrize("method", [RKD, SimilarityPreserving, FitNets])
def test_a_missing_tap_is_named_with_its_side(method):
    key = "student_role" if method is FitNets else "role"
    with pytest.raises(LayoutError, match="the student has no tap 'words'"):
        method(STUDENT, {"teacher": TEACHER}, **{key: "words"})
    with pytest.raises(LayoutError, match="source 'teacher' has no tap 'own'"):
        method(STUDENT, {"teacher": TEACHER}, **{key: "own"})


def test_a_method_without_adapters_has_no_parameters():
    for method in (SoftTargets, AttentionTransfer, RKD, SimilarityPreserving):
        assert not list(nn.Module.parameters(method(STUDENT, {"teacher": TEACHER})))
