"""Students are exported once per session: tracing takes seconds."""

import shutil

import pytest

from . import students


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`exported("mlp")` gives the setup and its bundle, which must not be changed."""
    kept = {}

    def get(name):
        if name not in kept:
            made = getattr(students, name)()
            kept[name] = made, made.export(tmp_path_factory.mktemp(name) / "bundle", recipe=f"test/{name}")
        return kept[name]

    return get


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy of the MLP's bundle, to be damaged."""
    shutil.copytree(exported("mlp")[1].path, tmp_path / "bundle")
    return tmp_path / "bundle"
