"""Routes between layouts: which exist, which tie, which a recipe may name."""

import pytest
import torch

from mmkd import registry
from mmkd.adapters import Adapter, Chain, Identity, align
from mmkd.adapters.map import MapToTokens, MapToVector
from mmkd.components import Factory
from mmkd.errors import LayoutError, RegistryError
from mmkd.layouts import BEV, CORE_LAYOUTS, MAP, NODES, SERIES, TOKENS, VECTOR, VOLUME, Layout, Spec

STUDENT = {
    VECTOR: (5,),
    NODES: (5,),
    TOKENS: (9, 5),
    SERIES: (5, 20),
    MAP: (5, 6, 6),
    VOLUME: (5, 2, 3, 4),
    BEV: (5, 4, 4),
}
TEACHER = {
    VECTOR: (7,),
    NODES: (7,),
    TOKENS: (16, 7),
    SERIES: (7, 8),
    MAP: (7, 4, 4),
    VOLUME: (7, 2, 2, 2),
    BEV: (7, 2, 2),
}
ROUTES = {
    (VECTOR, VECTOR): "Linear",
    (VECTOR, NODES): "VectorToNodes Nodes",
    (NODES, NODES): "Nodes",
    (NODES, VECTOR): "NodesToVector Linear",
    (TOKENS, TOKENS): "Tokens",
    (TOKENS, VECTOR): "TokensToVector Linear",
    (TOKENS, NODES): "TokensToVector VectorToNodes Nodes",
    (SERIES, SERIES): "Series",
    (SERIES, TOKENS): "SeriesToTokens Tokens",
    (SERIES, VECTOR): "SeriesToVector Linear",
    (SERIES, NODES): "SeriesToVector VectorToNodes Nodes",
    (MAP, MAP): "Map",
    (MAP, TOKENS): "MapToTokens Tokens",
    (MAP, VECTOR): "MapToVector Linear",
    (MAP, NODES): "MapToVector VectorToNodes Nodes",
}
POLAR = Layout("polar", "B C R A")
RINGS = Layout("rings", "B C R")
SECTORS = Layout("sectors", "B C A")


@pytest.fixture(autouse=True)
def _core_alone(monkeypatch):
    monkeypatch.setenv("MMKD_PLUGINS", "none")


@pytest.fixture
def register(monkeypatch):
    """Register further adapters, as a plugin would; a string is one whose import fails."""

    def also(*adapters):
        entries, load = registry.entries("adapters"), registry.load
        added = {registry.Entry("adapters", f"x/{number}", "x:X", "x", "1"): a for number, a in enumerate(adapters)}

        def loaded(entry):
            if isinstance(added.get(entry), str):
                raise RegistryError(added[entry])
            return added[entry] if entry in added else load(entry)

        monkeypatch.setattr(registry, "entries", lambda kind: [*entries, *added])
        monkeypatch.setattr(registry, "load", loaded)
        monkeypatch.setattr(
            registry, "get", lambda kind, name: loaded(next(e for e in [*entries, *added] if e.name == name))
        )

    return also


def changer(source, target, name="Changer", **attributes):
    """An adapter class between two layouts that drops all axes but batch and channels, and puts ones in their place."""

    def output_spec(cls, student, teacher):
        sizes = [student.channels if axis == "C" else 1 for axis in target.axes.split()[1:]]
        return Spec(target, tuple(sizes))

    def forward(self, feature):
        pooled = feature.movedim(source.channel_axis, 1).flatten(2).mean(2) if feature.dim() > 2 else feature
        return pooled.reshape(len(feature), *self.spec.shape)

    return type(
        name,
        (Adapter,),
        {"source": source, "target": target, "output_spec": classmethod(output_spec), "forward": forward, **attributes},
    )


def names(adapter):
    return " ".join(type(part).__name__ for part in (adapter.parts if isinstance(adapter, Chain) else [adapter]))


def specs(source, target):
    return Spec(source, STUDENT[source]), Spec(target, TEACHER[target])


@pytest.mark.parametrize(("pair", "route"), ROUTES.items(), ids=lambda value: str(value))
def test_each_pair_of_layouts_has_its_one_route(pair, route):
    student, teacher = specs(*pair)
    adapter = align(student, teacher)
    assert names(adapter) == route
    adapted = adapter(torch.randn(3, *student.shape))
    assert adapted.shape == (3, *teacher.shape) == (3, *adapter.spec.shape)
    assert adapter.spec.layout == pair[1]


@pytest.mark.parametrize(
    "pair", [(s, t) for s in CORE_LAYOUTS for t in CORE_LAYOUTS if s != t and (s, t) not in ROUTES], ids=str
)
def test_each_other_pair_is_refused_by_name(pair):
    with pytest.raises(LayoutError) as error:
        align(*specs(*pair))
    assert error.value.cause == f"no adapter leads from {pair[0]} to {pair[1]}"
    assert "mmkd list adapters" in error.value.way_out


@pytest.mark.parametrize("layout", CORE_LAYOUTS, ids=str)
def test_features_that_agree_need_no_adapter(layout):
    adapter = align(Spec(layout, STUDENT[layout]), Spec(layout, STUDENT[layout], guessed=True, path="elsewhere"))
    given = torch.randn(2, *STUDENT[layout])
    assert isinstance(adapter, Identity)
    assert adapter(given) is given
    assert not list(adapter.parameters())
    assert adapter.spec.shape == STUDENT[layout]


def test_channels_that_agree_need_the_layout_changed_alone():
    assert names(align(Spec(MAP, (7, 6, 6)), Spec(VECTOR, (7,)))) == "MapToVector"
    assert names(align(Spec(VECTOR, (7,)), Spec(NODES, (7,)))) == "VectorToNodes"


@pytest.mark.parametrize("layout", [VOLUME, BEV], ids=str)
def test_a_layout_without_a_resizer_says_so(layout):
    with pytest.raises(LayoutError, match=r"no adapter resizes \w+ \[5.*to \w+ \[7"):
        align(*specs(layout, layout))


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_an_unknown_layout_is_named_with_its_tap(side):
    unknown, known = Spec(None, (5,), path="stem.act"), Spec(VECTOR, (7,))
    with pytest.raises(LayoutError, match=r"layout of tap 'stem\.act' with shape \(5,\).* is unknown; declare it"):
        align(*((unknown, known) if side == "student" else (known, unknown)))


def test_an_ambiguous_layout_gives_its_reason():
    with pytest.raises(LayoutError, match="two readings"):
        align(Spec(None, (5, 6), ambiguity="two readings"), Spec(VECTOR, (7,)))


# --- plugins' layouts and ties ----------------------------------------


def test_a_plugins_layout_reaches_the_cores_through_its_own_adapter(register):
    register(changer(POLAR, MAP, "PolarToMap"))
    adapter = align(Spec(POLAR, (5, 3, 4)), Spec(VECTOR, (7,)))
    assert names(adapter) == "PolarToMap MapToVector Linear"
    assert adapter(torch.randn(2, 5, 3, 4)).shape == (2, 7)


def test_two_direct_adapters_are_ambiguous(register):
    register(changer(MAP, VECTOR, "MaxPool"))
    with pytest.raises(
        LayoutError, match=r"map \[B C H W\] reaches vector \[B C\] in several ways: .*MapToVector.*MaxPool"
    ):
        align(*specs(MAP, VECTOR))


def test_two_routes_of_one_length_are_ambiguous_and_a_named_link_decides(register):
    register(
        changer(POLAR, RINGS, "A"),
        changer(POLAR, SECTORS, "B"),
        changer(RINGS, VECTOR, "C"),
        changer(SECTORS, VECTOR, "D"),
    )
    student, teacher = Spec(POLAR, (5, 3, 4)), Spec(VECTOR, (7,))
    with pytest.raises(LayoutError, match="A then C or B then D; name a link"):
        align(student, teacher)
    assert names(align(student, teacher, Factory("adapters", {"use": "x/1"}))) == "B D Linear"
    assert names(align(student, teacher, Factory("adapters", {"use": "x/2"}))) == "A C Linear"


def test_a_shorter_route_wins_over_a_longer_one(register):
    register(changer(POLAR, VECTOR, "Direct"), changer(POLAR, MAP, "PolarToMap"))
    assert names(align(Spec(POLAR, (7, 3, 4)), Spec(VECTOR, (7,)))) == "Direct"


def test_two_resizers_are_ambiguous_and_naming_one_decides(register):
    other = changer(VECTOR, VECTOR, "Other", output_spec=classmethod(lambda cls, s, t: Spec(VECTOR, t.shape)))
    register(other)
    with pytest.raises(LayoutError, match=r"several adapters resize vector \[B C\]: Linear, Other; name one"):
        align(*specs(TOKENS, VECTOR))
    assert names(align(*specs(TOKENS, VECTOR), Factory("adapters", {"use": "linear"}))) == "TokensToVector Linear"


def test_an_adapter_that_is_not_automatic_waits_to_be_named(register):
    register(changer(MAP, VECTOR, "MaxPool", automatic=False))
    assert names(align(*specs(MAP, VECTOR))) == "MapToVector Linear"
    assert names(align(*specs(MAP, VECTOR), Factory("adapters", {"use": "x/0"}))) == "MaxPool Linear"


def test_a_broken_plugin_costs_its_own_adapters_and_a_warning(register):
    register("x 1 is broken", int, type("Half", (Adapter,), {"source": MAP}), changer(POLAR, MAP))
    with (
        pytest.warns(UserWarning, match="x 1 is broken"),
        pytest.warns(UserWarning, match=r"adapter 'x/1' is no subclass of mmkd\.adapters\.Adapter"),
        pytest.warns(UserWarning, match="adapter 'x/2' declares no source and target layout"),
    ):
        assert names(align(Spec(POLAR, (5, 3, 4)), Spec(MAP, (5, 1, 1)))) == "Changer"


# --- a named adapter ----------------------------------------


def test_a_named_adapter_is_used_even_where_features_agree():
    adapter = align(Spec(VECTOR, (5,)), Spec(VECTOR, (5,)), Factory("adapters", {"use": "linear", "bias": False}))
    assert [tuple(parameter.shape) for parameter in adapter.parameters()] == [(5, 5)]


def test_a_named_link_is_completed_to_the_teachers_sizes():
    adapter = align(*specs(MAP, VECTOR), Factory("adapters", {"use": "map-to-tokens"}))
    assert names(adapter) == "MapToTokens TokensToVector Linear"
    assert adapter(torch.randn(2, *STUDENT[MAP])).shape == (2, 7)
    assert isinstance(adapter.parts[0], MapToTokens)
    assert isinstance(align(*specs(MAP, VECTOR), Factory("adapters", {"use": "map-to-vector"})).parts[0], MapToVector)


@pytest.mark.parametrize(
    ("use", "pair"),
    [
        ("map-to-vector", (VECTOR, VECTOR)),
        ("linear", (VECTOR, TOKENS)),
        ("tokens", (TOKENS, VECTOR)),
        ("nodes", (MAP, MAP)),
    ],
)
def test_a_named_adapter_off_the_way_is_refused(use, pair):
    with pytest.raises(LayoutError, match=f"adapter '{use}' maps .* lies on no way from the student's {pair[0].name}"):
        align(*specs(*pair), Factory("adapters", {"use": use}))
