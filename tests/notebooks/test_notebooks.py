"""The committed notebooks are complete, small and tell nothing of the machine that made them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WANTED = (
    "quickstart",
    "gnn-to-mlp",
    "typed-graphs",
    "lidar-to-camera",
    "vision-to-imu",
    "audio-text",
    "medical-segmentation",
    "network-to-rules",
    "rules-to-network",
    "write-a-plugin",
    "own-models-own-loop",
    "deploy-one-sensor",
    "does-it-really-help",
)

specification = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
assert specification is not None
assert specification.loader is not None
execute = importlib.util.module_from_spec(specification)
specification.loader.exec_module(execute)


def test_one_notebook_for_each_subject() -> None:
    assert [path.stem for path in NOTEBOOKS] == [f"{number:02}-{name}" for number, name in enumerate(WANTED, 1)]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_it_was_executed_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]


def test_it_ends_with_its_claims(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert "claims" in code[-1].metadata.tags
    assert "assert " in code[-1].source
    figures = execute.headline(nbformat.read(path, as_version=4))
    assert figures
    assert all(low <= value <= high for value, low, high in figures.values())


def test_it_has_a_picture_and_is_small(path: Path) -> None:
    assert path.stat().st_size < 1_000_000
    assert "image/png" in path.read_text()


def test_it_names_no_machine(path: Path) -> None:
    text = path.read_text()
    found = re.findall(r"(?:/home/|/root/|/Users/|/tmp/|C:\\\\|site-packages)\S*", text)
    assert not found
    assert str(FOLDER.parent) not in text


def test_figures_that_moved_are_named() -> None:
    committed = {"gain": [4.0, 1.0, 7.0], "gone": [1.0, 0.0, 2.0]}
    assert execute.moved(committed, {"gain": [6.9, 0, 0], "gone": [0.0, 0, 0]}) == []
    assert execute.moved(committed, {"gain": [7.5, 0, 0], "new": [1, 0, 2]}) == [
        "no figure 'gone' any more",
        "'gain' is 7.5, outside [1, 7]",
        "figure 'new' is new",
    ]


def test_a_notebook_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="0 cells are tagged"):
        execute.headline(nbformat.v4.new_notebook())


def test_a_cell_that_raises_fails_its_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 == 2, 'no gain'")])
    path = tmp_path / "broken.ipynb"
    nbformat.write(notebook, path)
    before = path.read_text()
    assert execute.report(path, check=False)
    assert "no gain" in capsys.readouterr().out
    assert path.read_text() == before
