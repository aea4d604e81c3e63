from pathlib import Path

import pytest

from mmkd.data.root import data_root, find, generated_root


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    for variable in ("MMKD_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))


def test_default(tmp_path):
    assert data_root() == tmp_path / ".cache" / "mmkd" / "data"


def test_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root() == tmp_path / "cache" / "mmkd" / "data"


@pytest.mark.parametrize("value", ["", "relative/cache"])
def test_xdg_that_does_not_count(monkeypatch, tmp_path, value):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert data_root() == tmp_path / ".cache" / "mmkd" / "data"


def test_mmkd_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MMKD_DATA", "~/data")
    assert data_root() == tmp_path / "data"
    monkeypatch.setenv("MMKD_DATA", "data")
    assert data_root() == Path.cwd() / "data"
    monkeypatch.setenv("MMKD_DATA", "")
    assert data_root() == tmp_path / "cache" / "mmkd" / "data"


def test_generated(monkeypatch, tmp_path):
    """What is generated goes to the cache, wherever data sets are read from."""
    monkeypatch.setenv("MMKD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert generated_root() == tmp_path / "cache" / "mmkd" / "generated"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert generated_root() == tmp_path / ".cache" / "mmkd" / "generated"


def test_find(monkeypatch, tmp_path):
    monkeypatch.setenv("MMKD_DATA", str(tmp_path))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.npz").touch()
    assert find("a", "b/c.npz", "b") == tmp_path / "b" / "c.npz"
    assert find("b") == tmp_path / "b"
    assert find("a", "c.npz") is None
    assert find() is None
