"""Each adapter alone: sizes, values, gradients, configuration."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmkd import registry
from mmkd.adapters.map import Map, MapToTokens, MapToVector, resize, scaled
from mmkd.adapters.nodes import NodesToVector, VectorToNodes
from mmkd.adapters.series import Series, SeriesToTokens, SeriesToVector
from mmkd.adapters.tokens import Tokens, TokensToVector
from mmkd.components import Factory
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import MAP, NODES, SERIES, TOKENS, VECTOR, Layout, Spec

STUDENT = {
    VECTOR: Spec(VECTOR, (5,)),
    TOKENS: Spec(TOKENS, (9, 5)),
    SERIES: Spec(SERIES, (5, 20)),
    MAP: Spec(MAP, (5, 8, 6)),
    NODES: Spec(NODES, (5,)),
}
TEACHER = {
    VECTOR: Spec(VECTOR, (7,)),
    TOKENS: Spec(TOKENS, (12, 7)),
    SERIES: Spec(SERIES, (7, 8)),
    MAP: Spec(MAP, (7, 4, 10)),
    NODES: Spec(NODES, (7,)),
}
ADAPTERS = [registry.load(entry) for entry in registry.entries("adapters") if entry.distribution == "mmkd"]
RESIZERS = [adapter for adapter in ADAPTERS if adapter.source == adapter.target]
CHANGERS = [adapter for adapter in ADAPTERS if adapter.source != adapter.target]


def feature(spec, batch=3):
    return torch.randn(batch, *spec.shape)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_announced_form_is_the_real_one(adapter):
    made = adapter(STUDENT[adapter.source], TEACHER[adapter.target])
    assert made.spec.layout == adapter.target
    assert made(feature(STUDENT[adapter.source])).shape == (3, *made.spec.shape)


@pytest.mark.parametrize("adapter", RESIZERS)
def test_a_resizer_meets_the_teachers_sizes_and_learns(adapter):
    made = adapter(STUDENT[adapter.source], TEACHER[adapter.target])
    given = feature(STUDENT[adapter.source]).requires_grad_()
    adapted = made(given)
    assert adapted.shape == (3, *TEACHER[adapter.target].shape)
    adapted.square().sum().backward()
    assert given.grad.abs().amin() > 0, "antialiased: no position is ignored"
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.parameters())
    assert sum(parameter.numel() for parameter in made.parameters()) == 7 * 5 + 7


@pytest.mark.parametrize("adapter", CHANGERS)
def test_a_layout_changer_has_no_parameters_and_keeps_the_channels(adapter):
    made = adapter(STUDENT[adapter.source], TEACHER[adapter.target])
    assert not list(made.parameters())
    assert made.spec.channels == STUDENT[adapter.source].channels


@pytest.mark.parametrize("adapter", RESIZERS)
def test_bias_is_configuration_and_strict(adapter):
    name = next(entry.name for entry in registry.entries("adapters") if registry.load(entry) is adapter)
    measured = STUDENT[adapter.source], TEACHER[adapter.target]
    without = Factory("adapters", {"use": name, "bias": False})(*measured)
    assert sum(parameter.numel() for parameter in without.parameters()) == 7 * 5
    with pytest.raises(ConfigError, match=r"adapters\.bias"):
        Factory("adapters", {"use": name, "bias": 1})


@pytest.mark.parametrize("adapter", RESIZERS)
def test_initialisation_is_a_function_of_the_global_generator(adapter):
    weights = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights.append(next(adapter(STUDENT[adapter.source], TEACHER[adapter.target]).parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_every_layout_that_has_a_resizer_is_tested():
    assert {adapter.source for adapter in RESIZERS} == set(STUDENT) == set(TEACHER)


# --- values ----------------------------------------


def test_pools_are_means():
    assert torch.equal(TokensToVector(STUDENT[TOKENS], TEACHER[VECTOR])(t := feature(STUDENT[TOKENS])), t.mean(1))
    assert torch.equal(SeriesToVector(STUDENT[SERIES], TEACHER[VECTOR])(s := feature(STUDENT[SERIES])), s.mean(2))
    assert torch.allclose(
        MapToVector(STUDENT[MAP], TEACHER[VECTOR])(m := feature(STUDENT[MAP])), F.adaptive_avg_pool2d(m, 1).flatten(1)
    )


def test_time_steps_become_tokens_in_order():
    series = feature(STUDENT[SERIES])
    tokens = SeriesToTokens(STUDENT[SERIES], TEACHER[TOKENS])(series)
    assert torch.equal(tokens[1, 4], series[1, :, 4])


@pytest.mark.parametrize("adapter", [NodesToVector, VectorToNodes])
def test_nodes_and_vectors_are_the_same_tensor(adapter):
    given = feature(STUDENT[adapter.source])
    assert adapter(STUDENT[adapter.source], TEACHER[adapter.target])(given) is given


@pytest.mark.parametrize(("adapter", "layout"), [(Series, SERIES), (Tokens, TOKENS), (Map, MAP)])
@pytest.mark.parametrize("shrinks", [True, False])
def test_projection_and_resizing_commute(adapter, layout, shrinks):
    sides = (STUDENT[layout], TEACHER[layout])
    student, teacher = sides if shrinks == (layout == SERIES) else tuple(reversed(sides))
    made = adapter(student, teacher)
    given = feature(student)
    first = given.mT if layout == TOKENS else given
    sizes = [size for axis, size in enumerate(teacher.shape, 1) if axis != layout.channel_axis]
    other_order = made.project(resize(first, sizes)), resize(made.project(first), sizes)
    for value in other_order:
        assert torch.allclose(made(given), value.mT if layout == TOKENS else value, atol=1e-6)


def test_equal_sizes_are_not_resampled():
    made = Series(Spec(SERIES, (5, 20)), Spec(SERIES, (7, 20)))
    given = feature(STUDENT[SERIES])
    assert torch.equal(made(given), made.project(given))


def test_another_length_keeps_the_ratio_of_the_measured_ones():
    made = Series(Spec(SERIES, (5, 20)), Spec(SERIES, (7, 8)))  # 100 Hz against 40 Hz
    assert [made(torch.randn(1, 5, length)).shape[2] for length in (20, 40, 50, 1)] == [8, 16, 20, 1]
    assert scaled(20, 20, 8) == 8


def test_a_map_becomes_tokens_row_after_row():
    given = feature(STUDENT[MAP])
    tokens = MapToTokens(STUDENT[MAP], Spec(TOKENS, (48, 7)))(given)
    assert torch.equal(tokens[2, 6 * 3 + 5], given[2, :, 3, 5])


@pytest.mark.parametrize(
    ("height", "width", "count", "grid"),
    [(8, 8, 49, (7, 7)), (8, 6, 12, (4, 3)), (6, 8, 192, (12, 16)), (8, 13, 375, (15, 25))],
)
def test_a_map_is_resized_to_the_grid_of_the_teachers_tokens(height, width, count, grid):
    student, teacher = Spec(MAP, (2, height, width)), Spec(TOKENS, (count, 7))
    made = MapToTokens(student, teacher)
    given = feature(student)
    assert made.spec.shape == (count, 2)
    assert torch.equal(made(given), resize(given, grid).flatten(2).mT)


@pytest.mark.parametrize("count", [50, 197, 65])
def test_a_class_token_is_named_as_the_cause(count):
    with pytest.raises(LayoutError, match=f"{count} tokens form no grid .* 8x8 map; .*without a class token"):
        MapToTokens(Spec(MAP, (2, 8, 8)), Spec(TOKENS, (count, 7)))


def test_a_map_on_the_way_to_another_layout_keeps_its_positions():
    elsewhere = Spec(Layout("words", "B K C"), (3, 7))
    assert MapToTokens(STUDENT[MAP], elsewhere).spec.shape == (48, 5)


# --- resize ----------------------------------------


@pytest.mark.parametrize(
    ("sizes", "larger", "mode"),
    [((5,), (8,), "linear"), ((3, 5), (7, 9), "bilinear"), ((2, 3, 4), (5, 6, 7), "trilinear")],
)
def test_enlarging_is_plain_linear_interpolation(sizes, larger, mode):
    given = torch.randn(2, 3, *sizes, dtype=torch.float64)
    assert torch.allclose(resize(given, larger), F.interpolate(given, larger, mode=mode, align_corners=False))


@pytest.mark.parametrize("sizes", [(6,), (6, 4), (6, 4, 8)])
def test_resizing_keeps_constants_and_uses_every_position(sizes):
    given = torch.full((1, 2, *sizes), 3.0, requires_grad=True)
    smaller = resize(given, [size // 2 for size in sizes])
    assert torch.allclose(smaller, torch.tensor(3.0))
    smaller.sum().backward()
    assert given.grad.amin() > 0


def test_a_shrunk_ramp_stays_a_ramp():
    ramp = torch.arange(40.0).reshape(1, 1, 40)
    inner = resize(ramp, (10,))[0, 0, 1:-1]
    assert torch.allclose(inner, torch.arange(10.0)[1:-1] * 4 + 1.5, atol=1e-4)


def test_half_precision_and_an_empty_batch_are_resized():
    given = torch.randn(2, 3, 8)
    assert torch.allclose(resize(given.bfloat16(), (4,)), resize(given, (4,)), atol=0.05)
    assert resize(torch.randn(0, 3, 8), (4,)).shape == (0, 3, 4)


@pytest.mark.parametrize(("shape", "sizes"), [((2, 3, 4), (2, 2)), ((2, 3), ()), ((1, 1, 2, 2, 2, 2), (1, 1, 1, 1))])
def test_sizes_that_do_not_fit_are_refused(shape, sizes):
    with pytest.raises(ValueError, match="cannot resize a feature of shape"):
        resize(torch.zeros(shape), sizes)


def test_adapters_run_under_autocast():
    made = nn.ModuleList(adapter(STUDENT[adapter.source], TEACHER[adapter.target]) for adapter in RESIZERS)
    with torch.autocast("cpu", torch.bfloat16):
        for adapter in made:
            assert torch.isfinite(adapter(feature(STUDENT[adapter.source]))).all()
