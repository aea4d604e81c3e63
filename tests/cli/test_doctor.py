"""`mmkd doctor`: names what is broken, and says so in its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmkd.cli.main import main
from tests.registry.fakes import GOOD, install, install_core, only


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    packages = tmp_path / "packages"
    monkeypatch.setenv("MMKD_DATA", str(tmp_path / "data"))
    with only(monkeypatch, packages):
        install_core(packages)
        yield packages


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_installation(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": GOOD}, version="2.5")
    code, report = doctor(capsys)
    assert (code, report["ok"], report["problems"]) == (0, True, [])
    assert report["components"] == {"checked": 2, "broken": []}
    assert report["plugins"] == {"acme": "2.5"}
    assert report["packages"]["torch"]
    assert report["device"].startswith(("cpu", "cuda"))
    assert report["threads"] >= 1
    assert report["data"]["root"] == str(root.parent / "data")
    assert not report["data"]["exists"]
    assert report["data"]["free_gb"] > 0
    assert main(["doctor"]) == 0
    text = capsys.readouterr()
    assert "2 checked, 0 broken" in text.out
    assert text.err == ""


def test_each_broken_component_is_named_with_one_way_out_for_its_distribution(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = {"acme/net": "acme_x:Net", "acme/late": "acme_x:Net"}
    install(
        root, "acme", {"models": targets, "recipes": {"acme/kd": "acme_x:kd"}}, {"acme_x.py": "raise SystemExit(0)"}
    )
    install(root, "good", {"models": {"good/net": "good_x:Net"}}, {"good_x.py": GOOD})
    code, report = doctor(capsys)
    assert (code, report["ok"]) == (1, False)
    assert report["components"]["checked"] == 5
    assert [item["name"] for item in report["components"]["broken"]] == ["acme/late", "acme/net", "acme/kd"]
    assert report["components"]["broken"][0]["error"] == "model `acme/late` of acme 1.0 cannot be used: SystemExit: 0"
    assert main(["doctor"]) == 1
    text = capsys.readouterr()
    assert "5 checked, 3 broken" in text.out
    lines = text.err.splitlines()
    assert len(lines) == 4
    assert "pip install -U acme" in lines[3]


def test_what_the_listing_found_wrong_counts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root, "acme", {"models": {"net": "acme_x:Net"}})
    code, report = doctor(capsys)
    assert code == 1
    assert "without a family" in report["problems"][0]


def test_a_plugin_that_prints_does_not_spoil_the_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root, "acme", {"models": {"acme/net": "acme_x:Net"}}, {"acme_x.py": f"print('welcome!')\n{GOOD}"})
    assert doctor(capsys)[0] == 0


def test_a_data_folder_that_cannot_be(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "file"
    file.write_text("")
    monkeypatch.setenv("MMKD_DATA", str(file / "data"))
    code, report = doctor(capsys)
    assert code == 1
    assert f"because {file} is a file; set MMKD_DATA to a folder" in report["problems"][0]


def test_a_broken_torch(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    code, report = doctor(capsys)
    assert (code, report["device"], report["threads"]) == (1, None, None)
    assert report["problems"][0].startswith("torch cannot be used (ModuleNotFoundError")
    assert main(["doctor"]) == 1
    assert "none: torch cannot be used" in capsys.readouterr().out


def test_a_package_of_ours_that_cannot_be_imported(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mmkd.data.root", None)
    code, report = doctor(capsys)
    assert (code, report["data"]["root"]) == (1, None)
    assert report["problems"][0].startswith("the data folder cannot be told (ModuleNotFoundError")
    assert main(["doctor"]) == 1
