"""Listing, finding and loading components, and what is said where that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmkd import registry
from mmkd.errors import RegistryError
from tests.registry.fakes import GOOD, install, install_core, only


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is all that the registry sees, with a core in it."""
    with only(monkeypatch, tmp_path):
        install_core(tmp_path)
        yield tmp_path


def names(kind: str = "models") -> list[str]:
    return [entry.name for entry in registry.entries(kind)]


def error(kind: str, name: str) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        registry.get(kind, name)
    assert "\n" not in str(caught.value)
    assert caught.value.way_out
    return caught.value


# --- listing ---------------------------------------------------------------------------------------------------------


def test_listing_tells_everything_and_imports_nothing(root: Path) -> None:
    install(root, "Acme_X", {"methods": {"acme/kd": "acme_x:KD"}, "models": {"acme/net": "acme_x:Net"}}, version="2.5")
    (root / "acme_x.py").write_text("raise SystemExit('imported')")
    assert registry.entries() == [
        registry.Entry("models", "acme/net", "acme_x:Net", "acme-x", "2.5"),
        registry.Entry("models", "mlp", "fake_core:Net", "mmkd", "0.1.0"),
        registry.Entry("methods", "acme/kd", "acme_x:KD", "acme-x", "2.5"),
    ]
    assert names("methods") == ["acme/kd"]
    assert registry.distributions() == {"mmkd": "0.1.0", "acme-x": "2.5"}
    assert registry.problems() == []
    assert not {"acme_x", "fake_core"} & set(sys.modules)


def test_listing_is_kept_until_refresh(root: Path) -> None:
    assert names() == ["mlp"]
    info = install(root, "acme", {"models": {"acme/net": "acme:Net"}})
    assert names() == ["acme/net", "mlp"]
    (info / "entry_points.txt").unlink()
    assert names() == ["acme/net", "mlp"]
    registry.refresh()
    assert names() == ["mlp"]


def test_comments_extras_and_foreign_groups_are_read_as_the_standard_says(root: Path) -> None:
    info = install(root, "acme", {})
    text = (
        "[console_scripts]\nx = y:z\n# note\n[mmkd.models]\nacme/net=acme:Net [fast]\n\n; note\n[other]\nmmkd.q = 1:2\n"
    )
    (info / "entry_points.txt").write_text(text)
    registry.refresh()
    assert registry.find("models", "acme/net").target == "acme:Net"
    assert registry.problems() == []


def test_the_core_itself_is_installed_with_bare_names() -> None:
    registry.refresh()
    core = [entry for entry in registry.entries() if entry.distribution == registry.CORE]
    assert core, "run `pip install -e .`"
    assert not [entry for entry in core if "/" in entry.name]


def test_a_core_that_is_not_installed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only(monkeypatch, tmp_path):
        install(tmp_path, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": GOOD}, requires=["mmkd>=1"])
        [line] = registry.problems()
        assert "mmkd itself is not installed" in line
        assert registry.get("models", "acme/net")


# --- loading ---------------------------------------------------------------------------------------------------------


def test_loading_by_name_and_by_distribution(root: Path) -> None:
    install(root, "acme-x", {"models": {"acme/net": "acme_x:Net", "acme/inner": "acme_x:Net.make"}})
    (root / "acme_x.py").write_text("class Net:\n    @staticmethod\n    def make():\n        return 1\n")
    net = registry.get("models", "acme/net")
    assert net.__name__ == "Net"  # type: ignore[attr-defined]
    assert registry.get("models", "acme-x:acme/net") is net
    assert registry.get("models", "Acme_X:acme/net") is net
    assert registry.get("models", "mmkd:mlp").__module__ == "fake_core"
    assert registry.get("models", "acme/inner")() == 1  # type: ignore[operator]


BREAKAGES = {
    "syntax": ("def (:\n", "SyntaxError"),
    "absent package": ("import no_such_package.deep\n", "install what provides the module `no_such_package`"),
    "import error": ("from os import no_such_name\n", "ImportError: cannot import name 'no_such_name'"),
    "exit": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "exit without words": ("import sys; sys.exit()\n", "SystemExit"),
    "error of several lines": ("raise RuntimeError('one\\n  two')\n", "RuntimeError: one two"),
    "very long error": ("raise RuntimeError('x' * 5000)\n", "xxx..."),
    "base exception": ("class E(BaseException): pass\nraise E('odd')\n", "E: odd"),
    "generator exit": ("raise GeneratorExit\n", "GeneratorExit"),
    "error that cannot be printed": ("class E(Exception):\n    def __str__(self): return 1\nraise E\n", "E"),
    "no attribute": ("class Other: pass\n", "has no attribute 'Net'"),
    "not callable": ("Net = 3\n", "is of type int, not a class or function"),
    "attribute that raises": ("def __getattr__(name): raise ZeroDivisionError(name)\n", "ZeroDivisionError: Net"),
    "null bytes": ("\0", "SyntaxError"),
    "loop": ("import acme_x.again\n", "acme_x"),
}


@pytest.mark.parametrize(("source", "says"), BREAKAGES.values(), ids=BREAKAGES.keys())
def test_a_broken_plugin_is_one_clear_line_and_harms_no_other(root: Path, source: str, says: str) -> None:
    install(root, "acme-x", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": source}, version="3.1")
    install(root, "good", {"models": {"good/net": "good_x:Net"}}, {"good_x.py": GOOD})
    broken = error("models", "acme/net")
    assert says in str(broken)
    for part in (
        "model `acme/net` of acme-x 3.1",
        "pip install -U acme-x",
        "pip uninstall acme-x",
        "MMKD_PLUGINS=none",
    ):
        assert part in str(broken)
    assert broken.__cause__ is not None
    assert names() == ["acme/net", "good/net", "mlp"]
    assert registry.get("models", "good/net")
    assert registry.get("models", "mlp")


def test_a_target_without_its_module_is_the_plugins_fault(root: Path) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x.nets:Net"}}, {"acme_x/__init__.py": ""})
    broken = error("models", "acme/net")
    assert "No module named 'acme_x.nets'" in broken.cause
    assert "install what provides" not in broken.way_out


def test_a_broken_core_component_cannot_be_left_out(root: Path) -> None:
    (root / "fake_core.py").write_text("import no_such_package\n")
    broken = error("models", "mlp")
    assert "no_such_package" in broken.way_out
    assert "pip install --force-reinstall --no-deps mmkd" in broken.way_out
    assert "MMKD_PLUGINS" not in broken.way_out


def test_interrupting_an_import_interrupts(root: Path) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": "raise KeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        registry.get("models", "acme/net")


@pytest.mark.parametrize(
    "requirement", ["mmkd>=99", "MMKD <0.1", "mmkd[graph] (==2.*)", "mmkd>=99; python_version>'3'"]
)
def test_a_plugin_for_another_core_is_refused_before_import(root: Path, requirement: str) -> None:
    modules = {"acme_x.py": "raise SystemExit('imported')"}
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}}, modules, requires=["torch", requirement])
    broken = error("models", "acme/net")
    assert "it needs mmkd" in broken.cause
    assert "0.1.0 is installed" in broken.cause
    assert "pip install 'mmkd" in broken.way_out
    assert "acme_x" not in sys.modules


@pytest.mark.parametrize(
    "requirement",
    ["mmkd", "mmkd>=0.1,<0.2", "mmkd>=99; extra == 'future'", "mmkd>=99; python_version<'3'", "mmkd-graph>=99"],
)
def test_a_plugin_for_this_core_is_loaded(root: Path, requirement: str) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": GOOD}, requires=[requirement])
    assert registry.get("models", "acme/net")


def test_a_development_version_of_the_core_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only(monkeypatch, tmp_path):
        install_core(tmp_path, "0.3.0.dev4")
        install(tmp_path, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": GOOD}, requires=["mmkd>=0.2"])
        assert registry.get("models", "acme/net")


def test_a_requirement_that_cannot_be_read_is_named(root: Path) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": GOOD}, requires=["mmkd >=> 1"])
    assert "its requirement `mmkd >=> 1` cannot be read" in error("models", "acme/net").cause


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_a_recipe_is_a_file_in_a_package(root: Path) -> None:
    recipes = {"acme/kd": "acme_x.recipes:kd", "acme/lost": "acme_x.recipes:lost", "acme/far": "acme_y:kd"}
    install(root, "acme", {"recipes": recipes}, {"acme_x/__init__.py": "", "acme_x/recipes/kd.toml": "seeds = 3\n"})
    assert registry.get("recipes", "acme/kd").read_text() == "seeds = 3\n"  # type: ignore[attr-defined]
    assert "no file lost.toml in the package acme_x.recipes" in str(error("recipes", "acme/lost"))
    assert "No module named 'acme_y'" in str(error("recipes", "acme/far"))


def test_a_recipe_of_a_broken_package_is_named(root: Path) -> None:
    modules = {"acme_x/__init__.py": "raise SystemExit", "acme_x/kd.toml": ""}
    install(root, "acme", {"recipes": {"acme/kd": "acme_x:kd"}}, modules)
    assert "recipe `acme/kd` of acme 1.0 cannot be used: SystemExit" in str(error("recipes", "acme/kd"))


@pytest.mark.parametrize(
    "target", ["acme_x:../secret", "acme_x:/etc/secret", "acme_x:.hidden", "acme_x", "acme_x:kd.toml"]
)
def test_a_recipe_cannot_point_out_of_its_package(root: Path, target: str) -> None:
    install(root, "acme", {"recipes": {"acme/kd": target}}, {"acme_x/__init__.py": ""})
    assert names("recipes") == []
    assert "the form `package:stem`" in registry.problems()[0]
    assert f"with the target `{target}`" in str(error("recipes", "acme/kd"))


# --- names -----------------------------------------------------------------------------------------------------------


def test_two_providers_are_told_apart_by_distribution(root: Path) -> None:
    for number in (1, 2):
        target = {"models": {"acme/net": f"acme_{number}:Net"}}
        install(root, f"acme-{number}", target, {f"acme_{number}.py": GOOD})
    both = error("models", "acme/net")
    assert both.cause == "model `acme/net` is offered by acme-1 and acme-2"
    assert both.way_out == "write `acme-1:acme/net` or `acme-2:acme/net`"
    assert registry.get("models", "acme-1:acme/net").__module__ == "acme_1"
    assert registry.get("models", "acme-2:acme/net").__module__ == "acme_2"
    assert names() == ["acme/net", "acme/net", "mlp"]
    assert registry.problems() == []


def test_a_core_name_cannot_be_overridden(root: Path) -> None:
    install(root, "acme", {"models": {"mlp": "acme_x:Net", "net": "acme_x:Net"}}, {"acme_x.py": GOOD})
    assert names() == ["mlp"]
    assert registry.get("models", "mlp").__module__ == "fake_core"
    assert "acme 1.0 declares the model `mlp` without a family" in registry.problems()[0]
    assert "call it `family/net`" in str(error("models", "net"))
    assert "call it `family/mlp`" in str(error("models", "acme:mlp"))


FAULTS = {
    "group": ("[mmkd.modles]\nacme/bad = acme_x:Net", "in the group `mmkd.modles`; the groups are mmkd.{datasets,"),
    "no target": ("[mmkd.models]\nacme/bad", "with the target ``; a target has the form `module:attribute`"),
    "no attribute": ("[mmkd.models]\nacme/bad = acme_x", "with the target `acme_x`"),
    "path as target": ("[mmkd.models]\nacme/bad = ../x:Net", "with the target `../x:Net`"),
    "spaces": ("[mmkd.models]\nacme/a b = acme_x:Net", "`acme/a b`; a name has the form `family/name`"),
    "colon": ("[mmkd.models]\nacme:bad = acme_x:Net", "`acme:bad`; a name has the form `family/name`"),
    "no name": ("[mmkd.models]\n = acme_x:Net", "``; a name has the form `family/name`"),
    "empty family": ("[mmkd.models]\n/bad = acme_x:Net", "`/bad`; a name has the form `family/name`"),
    "twice": ("[mmkd.models]\nacme/net = acme_x:Other", "declares the model `acme/net` twice; the first is used"),
}


@pytest.mark.parametrize(("text", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_declaration_is_reported_and_harms_no_other(root: Path, text: str, says: str) -> None:
    info = install(root, "acme", {}, {"acme_x.py": GOOD})
    (info / "entry_points.txt").write_text(f"[mmkd.models]\nacme/net = acme_x:Net\n{text}\n")
    registry.refresh()
    [line] = registry.problems()
    assert line.startswith("acme 1.0 declares ")
    assert says in line
    assert names() == ["acme/net", "mlp"]
    assert registry.get("models", "acme/net")


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("models", "mpl", "no model `mpl` is installed; did you mean `mlp`? `mmkd list models` shows all models"),
        ("models", "net", "did you mean `acme/net`?"),
        ("models", "graph/net", "did you mean `acme/net`?"),
        ("models", "acme:mlp", "no model `acme:mlp` is installed; did you mean `mmkd:mlp`?"),
        ("models", "nobody:acme/nett", "did you mean `acme/net`?"),
        ("models", "zzz", "no model `zzz` is installed; `mmkd list models` shows all models"),
        ("models", "acme/distil", "that name is among the methods"),
        ("datasets", "mlp", "no data set `mlp`: that name is among the models"),
        ("modles", "mlp", "no kind of component `modles`; did you mean `models`? the kinds are datasets, models,"),
        ("models", "", "no model `` is installed"),
    ],
)
def test_an_unknown_name_is_answered_with_what_was_perhaps_meant(root: Path, kind: str, name: str, says: str) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}, "methods": {"acme/distil": "acme_x:KD"}})
    assert says in str(error(kind, name))


# --- metadata that is broken or there twice --------------------------------------------------------------------------


def test_unreadable_metadata_spoils_no_other_distribution(root: Path) -> None:
    info = install(root, "latin", {"models": {"latin/net": "latin_x:Net"}})
    (info / "entry_points.txt").write_bytes(b"[mmkd.models]\nlatin/n\xe9t = latin_x:Net\n")
    nameless = install(
        root, "nameless", {"models": {"nameless/net": "nameless_x:Net"}}, {"nameless_x.py": GOOD}, head=""
    )
    bytes_head = install(root, "odd-head", {"models": {"odd/net": "odd_x:Net"}})
    (bytes_head / "METADATA").write_bytes(b"Name: odd-h\xe9ad\n")
    install(root, "good", {"models": {"good/net": "good_x:Net"}}, {"good_x.py": GOOD})
    assert nameless.exists()
    assert names() == ["good/net", "mlp", "nameless/net", "odd/net"]
    lines = sorted(registry.problems())
    assert lines[0].startswith("latin: its entry_points.txt cannot be read (UnicodeDecodeError")
    assert lines[1] == "nameless: its metadata has no readable name and version; reinstall it"
    assert lines[2].startswith("odd-head: its metadata has no readable name")
    assert registry.find("models", "nameless/net").version == registry.UNKNOWN_VERSION
    assert registry.get("models", "nameless/net")


def test_of_one_distribution_found_twice_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with only(monkeypatch, first, second):
        install_core(first)
        install_core(second, "0.0.9")
        install(first, "Acme.X", {"models": {"acme/net": "acme_x:Net"}}, version="2.0")
        install(second, "acme-x", {"models": {"acme/net": "acme_x:Net", "acme/old": "acme_x:Old"}}, version="1.0")
        install(first, "empty", {}, version="2.0")
        install(second, "empty", {"models": {"empty/old": "empty_x:Old"}}, version="1.0")
        assert [(entry.name, entry.version) for entry in registry.entries()] == [("acme/net", "2.0"), ("mlp", "0.1.0")]
        assert registry.problems() == []


def test_what_a_failed_removal_left_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with only(monkeypatch, first, second):
        install_core(first)
        (first / "acme-0.9.dist-info").mkdir()
        install(second, "acme", {"models": {"acme/net": "acme_x:Net"}})
        assert names() == ["acme/net", "mlp"]


# --- MMKD_PLUGINS ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ("", ["acme/net", "mlp", "zeta/net"]),
        ("none", ["mlp"]),
        ("Acme_X", ["acme/net", "mlp"]),
        (" acme-x , zeta ", ["acme/net", "mlp", "zeta/net"]),
        ("mmkd", ["mlp"]),
    ],
)
def test_plugins_are_left_out(root: Path, monkeypatch: pytest.MonkeyPatch, selection: str, kept: list[str]) -> None:
    install(root, "acme-x", {"models": {"acme/net": "acme_x:Net", "bare": "acme_x:Net"}}, {"acme_x.py": GOOD})
    install(root, "zeta", {"models": {"zeta/net": "zeta_x:Net"}}, {"zeta_x.py": GOOD})
    monkeypatch.setenv(registry.SELECTION, selection)
    assert names() == kept
    assert len(registry.problems()) == ("acme/net" in kept)  # the fault of a plugin that is left out is of no interest
    if "zeta/net" not in kept:
        left_out = error("models", "zeta/net")
        assert f"zeta, which offers it, is left out by MMKD_PLUGINS={selection}" in left_out.cause
        assert "add zeta to MMKD_PLUGINS" in left_out.way_out


def test_an_unknown_name_in_the_selection_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.SELECTION, "acmx")
    assert registry.problems() == ["MMKD_PLUGINS names `acmx`, which offers no mmkd component; no plugin is installed"]
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}})
    [line] = registry.problems()
    assert line == "MMKD_PLUGINS names `acmx`, which offers no mmkd component; the plugins installed are acme"
    assert names() == ["mlp"]
