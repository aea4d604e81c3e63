"""`mmkd data`: listing, cards, checks, and data sets written to disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd.cli.main import main
from mmkd.data import Dataset, Field, LazyDataset, Split
from mmkd.data.folder import write
from mmkd.errors import DataError
from tests.moons import Moons, moons

__all__ = ["moons"]


def test_list_says_how_one_comes_by_each_and_warns_of_a_missing_card(moons, capsys):
    assert main(["data", "list", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["datasets"]}
    assert found["moons/moons"]["access"] == "unknown"
    assert main(["data", "list"]) == 0
    told = capsys.readouterr()
    assert "moons/moons" in told.out
    assert "data set moons/moons of mmkd-moons 1.0 has no data card" in told.err


def test_check_reads_it_with_its_settings(moons, capsys):
    assert main(["data", "check", "moons/moons", "--set", "subjects=4"]) == 0
    text = capsys.readouterr().out
    assert "240 rows, independent unit: subject" in text
    assert "near: sample float32 [4] vector" in text
    assert "labelled 12, unlabelled 108, valid 40, test 80" in text
    assert main(["data", "check", "moons/moons", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["content"] == Moons().content_hash()
    assert main(["data", "check", "moons/moons", "--set", "subject=4"]) == 2
    assert "did you mean 'subjects'" in capsys.readouterr().err


def test_get_of_what_is_generated_fetches_nothing(moons, capsys):
    assert main(["data", "get", "moons/moons", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "moons/moons", "files": []}


def test_make_writes_arrays_that_numpy_reads(moons, capsys):
    assert main(["data", "make", "moons/moons", "made", "--set", "subjects=4"]) == 0
    files = capsys.readouterr().out.split()
    assert sorted(files) == sorted(str(path) for path in Path("made").iterdir())
    data, declared = Moons(subjects=4), json.loads(Path("made/dataset.json").read_text())
    assert declared["content"] == data.content_hash()
    assert declared["fields"]["label"]["classes"] == ["a", "b"]
    for field, value in data.samples.items():
        (file,) = declared["fields"][field]["files"]
        np.testing.assert_array_equal(np.load(Path("made", file)), value.numpy())
    np.testing.assert_array_equal(np.load("made/groups.npy"), data.groups.numpy())
    with np.load("made/split-0.npz") as split:
        np.testing.assert_array_equal(split["test.test"], data.split(0).test["test"].numpy())
    assert main(["data", "make", "moons/moons", "made"]) == 3
    assert "made is not empty; name a new folder" in capsys.readouterr().err


def test_make_is_a_hook(moons, monkeypatch, capsys):
    def make(self, folder):
        folder.mkdir()
        (folder / "clip.wav").touch()
        return [folder / "clip.wav"]

    monkeypatch.setattr(Moons, "make", make, raising=False)
    assert main(["data", "make", "moons/moons", "made"]) == 0
    assert capsys.readouterr().out == "made/clip.wav\n"


class Lazy(LazyDataset):
    """Rows `[n, n]`, and of another size from `odd` on."""

    def __init__(self, odd=99):
        fields = {"x": Field((2,)), "parts": Field(()), "label": Field((), "int64", target=True)}
        super().__init__(fields, {})
        self.odd = odd

    def __len__(self):
        return 5

    def __getitem__(self, row):
        x = torch.full((2 if row < self.odd else 3,), float(row))
        return {
            "x": x,
            "parts": {"left": torch.tensor(row), "a b": torch.tensor([row])},
            "label": torch.tensor(row % 2),
        }


def test_a_lazy_data_set_is_written_row_by_row(tmp_path):
    write(Lazy(), tmp_path / "made", "lazy")
    assert np.load(tmp_path / "made" / "x.npy").tolist() == [[n, n] for n in range(5)]
    declared = json.loads((tmp_path / "made" / "dataset.json").read_text())
    assert sorted(declared["fields"]["parts"]["files"]) == ["parts.a-b.npy", "parts.left.npy"]
    assert not (tmp_path / "made" / "split-0.npz").exists()
    with pytest.raises(
        DataError, match="samples of 'x' differ in size, so they make no array; Lazy must override `make`"
    ):
        write(Lazy(odd=3), tmp_path / "other", "lazy")


def test_sparse_and_nested_values_are_written_in_parts(tmp_path):
    matrix = torch.eye(3).to_sparse_coo()
    fields = {"x": Field((2,)), "adjacency": Field((3, 3), kind="relation"), "kinds": Field((), kind="constant")}
    data = Dataset(
        fields,
        {"x": torch.ones(3, 2)},
        relations={"adjacency": matrix},
        constants={"kinds": {("a", "to", "b"): torch.ones(1)}},
    )
    write(data, tmp_path / "made", "graph")
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"adjacency.0.npy", "adjacency.1.npy", "x.npy", "dataset.json"} <= names
    assert len([name for name in names if name.startswith("kinds")]) == 1


__all__ += ["Split"]
