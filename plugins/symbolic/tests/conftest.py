"""Data on this machine, and the tests' own state."""

import gzip

import pytest

from mmkd.data.root import data_root


@pytest.fixture
def data():
    """`data(file)` is the place of a real data file; the test is skipped where it is not on this machine."""

    def place(path):
        if not (data_root() / path).is_file():
            pytest.skip(f"{path} is not in MMKD_DATA")
        return data_root() / path

    return place


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """The ledger of unsealings and the working folder are the test's own."""
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tsv(tmp_path):
    """`tsv(text)` writes a gzipped table."""

    def write(text):
        path = tmp_path / "table.tsv.gz"
        path.write_bytes(gzip.compress(text.encode()))
        return path

    return write
