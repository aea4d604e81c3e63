"""`mmkd list`: everything that is installed, without importing any of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmkd.cli.main import main
from tests.registry.fakes import install, install_core, only

REPOSITORY = Path(__file__).parents[2]


def test_listing_sixty_plugins_imports_no_plugin_and_nothing_heavy(tmp_path: Path) -> None:
    for number in range(60):
        declared = {
            "models": {f"acme{number}/net": f"acme_{number}:Net"},
            "recipes": {f"acme{number}/kd": f"acme_{number}:kd"},
        }
        install(tmp_path, f"acme-{number}", declared, {f"acme_{number}.py": "raise SystemExit('imported')"})
    script = (
        "import sys\n"
        "from mmkd.cli.main import main\n"
        "code = main(['list'])\n"
        "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    environment.pop("MMKD_PLUGINS", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for number in range(60):
        assert f"acme{number}/net" in done.stdout.split()
        assert f"acme{number}/kd" in done.stdout.split()
    imported = set(done.stderr.splitlines()[-1].split())
    assert "mmkd" in imported
    heavy = {"torch", "numpy", "scipy", "pandas", "pydantic", "rich", "matplotlib", "packaging", "sklearn", "filelock"}
    assert not imported & heavy
    assert not [name for name in imported if name.startswith("acme_")]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with only(monkeypatch, tmp_path):
        install_core(tmp_path)
        yield tmp_path


def test_the_table_names_kind_distribution_and_version(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root, "acme", {"methods": {"acme/kd": "acme_x:KD"}}, version="2.5")
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["KIND", "NAME", "DISTRIBUTION", "VERSION"],
        ["models", "mlp", "mmkd", "0.1.0"],
        ["methods", "acme/kd", "acme", "2.5"],
    ]
    assert printed.err == ""
    assert main(["list", "methods"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["KIND", "methods"]


def test_a_shared_name_is_shown_as_it_has_to_be_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root, "acme-1", {"models": {"acme/net": "acme_1:Net"}})
    install(root, "acme-2", {"models": {"acme/net": "acme_2:Net"}})
    assert main(["list", "models"]) == 0
    written = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert written == ["NAME", "acme-1:acme/net", "acme-2:acme/net", "mlp"]


def test_problems_go_to_stderr_and_into_the_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(root, "acme", {"models": {"net": "acme_x:Net"}})
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert "acme 1.0" not in printed.out
    assert printed.err.startswith("warning: acme 1.0 declares the model `net` without a family")
    assert printed.err.count("\n") == 1
    assert main(["list", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    report = json.loads(printed.out)
    [component] = report["components"]
    assert component == {
        "kind": "models",
        "name": "mlp",
        "target": "fake_core:Net",
        "distribution": "mmkd",
        "version": "0.1.0",
    }
    assert "without a family" in report["problems"][0]


def test_nothing_of_a_kind_and_no_such_kind(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "readers"]) == 0
    assert capsys.readouterr().err == "warning: no readers are installed\n"
    assert main(["list", "reader"]) == 2
    assert capsys.readouterr().err.startswith("error: no kind of component `reader`; did you mean `readers`?")
