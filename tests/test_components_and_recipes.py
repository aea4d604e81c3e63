"""Signature = configuration, and recipes as data."""

from __future__ import annotations

import tomllib
from typing import Literal

import pytest

from mmkd import recipes, registry
from mmkd.components import Factory, Use, configuration, plain, validate
from mmkd.errors import ConfigError, RegistryError

RECIPE = {
    "name": "demo",
    "dataset": {"use": "graph/digits-knn"},
    "task": {"use": "classification"},
    "student": {"use": "mlp", "hidden": 32},
    "sources": {"teacher": {"model": {"use": "graph/sage"}}},
    "methods": [{"use": "soft-targets", "temperature": 2.0}],
}


class Component:
    def __init__(
        self,
        measured: int,
        /,
        *,
        width: int,
        rate: float = 0.5,
        mode: Literal["a", "b"] = "a",
        sizes: tuple[int, ...] = (1, 2),
    ) -> None:
        self.measured, self.width, self.rate, self.mode, self.sizes = measured, width, rate, mode, sizes


class Outer:
    def __init__(self, *, inner: Use.methods, scale: float = 1.0) -> None:
        self.inner = inner


def check(table: dict[str, object], component: type = Component) -> dict[str, object]:
    return validate(configuration(component), table, "where", "component")


def test_keyword_only_parameters_are_the_configuration():
    assert check({"width": 3, "sizes": [4, 5]}) == {"width": 3, "rate": 0.5, "mode": "a", "sizes": (4, 5)}
    assert "measured" not in configuration(Component).model_fields


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"width": True}, "where.width"),
        ({"width": "3"}, "where.width"),
        ({"width": 1.0}, "where.width"),
        ({"width": 1, "rate": True}, "where.rate"),
        ({"width": 1, "mode": "c"}, "where.mode"),
        ({"width": 1, "sizes": [1, "x"]}, "where.sizes"),
        ({}, "missing key 'where.width'"),
        ({"width": 1, "widht": 2}, "did you mean 'width'"),
    ],
)
def test_wrong_configuration_is_one_line_that_names_the_key(table, words):
    with pytest.raises(ConfigError) as caught:
        check(table)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_integer_is_a_float_and_nothing_else_is_cast():
    assert check({"width": 1, "rate": 2})["rate"] == 2.0


def test_nested_tables_become_factories_and_resolve_with_their_defaults():
    config = check({"inner": {"use": "soft-targets", "temperature": 3.0}}, Outer)
    assert isinstance(config["inner"], Factory)
    assert plain(config)["inner"] == {
        "use": "soft-targets",
        "source": "teacher",
        "temperature": 3.0,
        "output": "logits",
    }
    with pytest.raises(ConfigError, match="temprature"):
        check({"inner": {"use": "soft-targets", "temprature": 3.0}}, Outer)
    with pytest.raises(RegistryError, match="soft-target"):
        check({"inner": {"use": "soft-target"}}, Outer)


def test_use_offers_registry_kinds_only():
    with pytest.raises(AttributeError):
        _ = Use.modles


def test_the_resolved_recipe_is_complete_and_resolves_to_itself():
    resolved = recipes.resolve(recipes.check(RECIPE))
    assert resolved["student"]["layers"] == 2
    assert resolved["methods"][0]["temperature"] == 2.0
    assert resolved["training"]["optimiser"] == "adamw"
    again = recipes.resolve(recipes.check(tomllib.loads(recipes.to_toml(resolved))))
    assert again == resolved


@pytest.mark.parametrize("name", [entry.name for entry in registry.entries("recipes")])
def test_every_installed_recipe_resolves_to_itself(name):
    resolved = recipes.resolve(recipes.load(name)[0])
    assert recipes.resolve(recipes.check(tomllib.loads(recipes.to_toml(resolved)))) == resolved


def test_set_to_nothing_takes_a_key_away():
    """One arm of several, an element of a list, a setting whose default is wanted."""
    given, _ = recipes.load("graph/gnn-to-mlp")
    taken, _ = recipes.load("graph/gnn-to-mlp", ["arms.krd=", "evaluation.controls.0=", "student.dropout = "])
    assert set(given.arms) - set(taken.arms) == {"krd"}
    assert taken.evaluation.controls == given.evaluation.controls[1:]
    assert recipes.resolve(taken)["student"]["dropout"] == 0.0
    quoted, _ = recipes.load("graph/gnn-to-mlp", ['name=""'])
    assert quoted.name == ""


def test_set_changes_nested_keys_and_list_elements():
    changes = ["student.hidden=64", "methods.0.temperature=1", "training.schedule=cosine", "evaluation.controls=[]"]
    recipe, _ = recipes.load(RECIPE, changes)
    assert recipe.student.model_extra == {"hidden": 64}
    assert recipe.methods[0].model_extra["temperature"] == 1
    assert recipe.training.schedule == "cosine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("student.hidden", "key.path=value"),
        ("methods.3.temperature=1", "'3' is no position in a list of 1"),
        ("methods.3=", "'3' is no position in a list of 1"),
        ("student.hiden=", "there is no 'student.hiden' to take away"),
        ("student.use.deep=1", "'use' is a value"),
        ("trainig.steps=5", "did you mean 'training'"),
        ("training.stesp=5", "training.stesp"),
        ("training.steps=true", "training.steps"),
        ("training.steps=0", "training.steps"),
        ("seeds=0", "seeds"),
        ("arms.teacher.distil=false", "own arms"),
    ],
)
def test_bad_settings_are_one_line(change, words):
    with pytest.raises(ConfigError) as caught:
        recipes.resolve(recipes.load(RECIPE, [change])[0])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dotted_import_path_is_no_name():
    with pytest.raises(RegistryError):
        recipes.resolve(recipes.load(RECIPE, ["student.use=os.system"])[0])


def test_unreadable_and_unknown_recipes(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("seeds = [", encoding="utf-8")
    with pytest.raises(ConfigError, match="no valid TOML"):
        recipes.load(str(broken))
    with pytest.raises(ConfigError, match="no recipe file"):
        recipes.load(str(tmp_path / "absent.toml"))
    with pytest.raises(RegistryError, match="graph/glnn"):
        recipes.load("graph/gln")


def test_a_further_arm_replaces_only_its_tables():
    recipe = recipes.check({**RECIPE, "arms": {"small": {"student": {"use": "mlp", "hidden": 4}}}})
    changed = recipe.with_arm("small")
    assert changed.student.model_extra == {"hidden": 4}
    assert changed.methods == recipe.methods
