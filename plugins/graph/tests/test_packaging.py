"""What is in the wheel, built from the tree and from an sdist."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmkd import recipes, registry

HERE = Path(__file__).parent.parent


def build(folder, target, into):
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (made,) = into.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


def test_wheels(tmp_path):
    if not (HERE / "pyproject.toml").is_file() or not (HERE / "../../data_cards").is_dir():
        pytest.skip("not in the source tree")
    sdist = build(HERE, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for folder, into in ((HERE, tmp_path / "tree"), (unpacked, tmp_path / "from_sdist")):
        wheel = zipfile.ZipFile(build(folder, "wheel", into))
        names = set(wheel.namelist())
        assert {"mmkd_graph/data_cards/cora.md", "mmkd_graph/data_cards/digits-knn.md"} <= names
        assert {"mmkd_graph/recipes/glnn.toml", "mmkd_graph/recipes/glnn-cora.toml"} <= names
        assert not [name for name in names if "test" in name or "hatch" in name]
        card = (HERE / "../../data_cards/cora.md").read_bytes()
        assert wheel.read("mmkd_graph/data_cards/cora.md") == card


def test_every_entry_point_loads():
    own = [entry for entry in registry.entries() if entry.distribution == "mmkd-graph"]
    assert {(entry.kind, entry.name) for entry in own} == {
        *(("datasets", f"graph/{name}") for name in ("digits-knn", "cora", "npz")),
        *(("models", f"graph/{name}") for name in ("sage", "gcn")),
        *(("recipes", f"graph/{name}") for name in ("glnn", "glnn-cora")),
    }
    for entry in own:
        loaded = registry.load(entry)
        if entry.kind == "recipes":
            assert tomllib.loads(loaded.read_text())["student"]["use"] == "mlp"


@pytest.mark.parametrize("name", ["graph/glnn", "graph/glnn-cora"])
def test_recipes_resolve(name):
    """Every key and component of a recipe is known, and the completed recipe is complete."""
    recipe, _ = recipes.load(name)
    table = recipes.resolve(recipe)
    assert recipes.resolve(recipes.check(table)) == table
    assert table["task"]["weight"] == 0.0
    assert recipe.about["command"].endswith(f"mmkd run {name}")
