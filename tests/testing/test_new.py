"""`mmkd plugin new|check`, and the plugin in `examples/`, which is what `new` writes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmkd import registry
from mmkd.cli.main import main
from mmkd.testing import checks_of, run_checks
from mmkd.testing.new import KINDS, new_plugin
from tests.registry.fakes import install

EXAMPLE = Path(__file__).parents[2] / "examples" / "mmkd-plugin-example"


def files_of(folder):
    """Content by place, without what tools leave behind."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "cache" not in str(path)]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_the_example_is_what_new_writes(tmp_path):
    new_plugin("example", folder=tmp_path / "new")
    assert files_of(tmp_path / "new") == files_of(EXAMPLE)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), ("model", "method"), ("method", "recipe")], ids=str)
def test_any_kinds_make_a_whole(tmp_path, kinds):
    new_plugin("my-sensors", kinds, tmp_path / "new")
    files = files_of(tmp_path / "new")
    for place, text in files.items():
        assert not {"{%", "{{"} & set(text.split()), place
        if place.endswith(".py"):
            ast.parse(text)
        if place.endswith(".toml"):
            tomllib.loads(text)
    declared = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    expected = {*kinds, *({"dataset"} if "recipe" in kinds else ())}
    assert {group.removeprefix("mmkd.").rstrip("s") for group in declared} == expected
    for group, entries in declared.items():
        for target in entries.values():
            place = target.split(":")[0].replace(".", "/")
            stem = f"{place}/{target.split(':')[1]}.toml" if group == "mmkd.recipes" else f"{place}.py"
            assert stem in files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "Bad Name"], "no name for a family"),
        (["new", "x", "--kinds", "modell"], "'modell' is not known; some of model,method,adapter,dataset,recipe"),
        (["new", "x", "--kinds", ","], "names none"),
        (["new", "x", "--into", "full"], "full is there already"),
        (["check", "mmkd-nothing"], "no installed distribution 'mmkd-nothing'"),
        (["check", "none.whl"], "none.whl cannot be read as a wheel"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/file").touch()
    assert main(["plugin", *arguments]) in (2, 4)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_example_passes_all_quick_checks(tmp_path, monkeypatch, capsys):
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    install(tmp_path, "mmkd-example", {group.removeprefix("mmkd."): names for group, names in declared.items()})
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{EXAMPLE}")
    registry.refresh()
    try:
        assert main(["plugin", "check", "mmkd-example", "--quick"]) == 0
        assert capsys.readouterr().out == "29 checks: 29 passed\n"
        assert main(["plugin", "check", "mmkd-example", "--quick", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["checks"]) == 29
        assert len(checks_of("mmkd-example")) == 32
        assert run_checks([]).summary() == "0 checks: nothing to check"
    finally:
        monkeypatch.undo()
        registry.refresh()
        for name in [name for name in sys.modules if name.startswith("mmkd_example")]:
            del sys.modules[name]


@pytest.mark.slow
def test_the_examples_wheel_passes_everything_away_from_its_source(tmp_path, monkeypatch, capsys):
    """Built, unpacked into a folder of its own, checked, tested, run, exported and asked."""
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "check", str(wheel)]) == 0
    assert capsys.readouterr().out == "33 checks: 33 passed\n"
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def ran(*command):
        done = subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "33 passed" in ran("pytest", str(EXAMPLE), "-p", "no:cacheprovider")
    ran("mmkd", "run", "example/main", "--seeds", "1", "--out", "run", "--set", "training.steps=60")
    ran("mmkd", "export", "run")
    Path("rows.csv").write_text("narrow.0,narrow.1,narrow.2,narrow.3\n0.1,0.2,0.3,0.4\n", encoding="utf-8")
    assert "1 prediction\n" in ran("mmkd", "predict", "run/bundle", "rows.csv")
    assert "and nothing else" in ran("mmkd", "verify", "run/bundle")
