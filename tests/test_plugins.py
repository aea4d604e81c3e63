"""What holds for each of our own distributions under `plugins/`: wheels, entry points, recipes."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmkd import recipes, registry

PLUGINS = Path(__file__).parent.parent / "plugins"
FOLDERS = sorted(path.parent for path in PLUGINS.glob("*/pyproject.toml"))


def own(kind=None):
    """Entries of our own distributions."""
    names = {f"mmkd-{folder.name}" for folder in FOLDERS}
    return [entry for entry in registry.entries(kind) if entry.distribution in names]


def build(folder, target, into):
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (made,) = into.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_wheels_hold_recipes_and_cards(folder, tmp_path):
    """From the tree and from an sdist alike."""
    package = f"mmkd_{folder.name}"
    cards = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["hooks"]["custom"]["cards"]
    sdist = build(folder, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for source, into in ((folder, tmp_path / "tree"), (unpacked, tmp_path / "from_sdist")):
        wheel = zipfile.ZipFile(build(source, "wheel", into))
        names = set(wheel.namelist())
        for recipe in (folder / package / "recipes").glob("*.toml"):
            assert f"{package}/recipes/{recipe.name}" in names
        for card in cards:
            assert (
                wheel.read(f"{package}/data_cards/{card}.md") == (PLUGINS.parent / f"data_cards/{card}.md").read_bytes()
            )
        assert not [name for name in names if name.startswith("tests") or "hatch" in name]


@pytest.mark.parametrize("entry", own(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_every_entry_point_loads(entry):
    assert registry.load(entry) is not None


@pytest.mark.parametrize("name", [entry.name for entry in own("recipes")])
def test_recipes_resolve(name):
    """Every key and component of a recipe is known, and the completed recipe is complete."""
    recipe, _ = recipes.load(name)
    table = recipes.resolve(recipe)
    assert recipes.resolve(recipes.check(table)) == table
    assert f"mmkd run {name}" in recipe.about["command"]
