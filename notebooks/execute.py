"""Execute the notebooks beside this file, each in a process and an empty folder of its own.

    python notebooks/execute.py                    # all, and write their outputs
    python notebooks/execute.py 01-quickstart      # one
    MMKD_FAST=1 python notebooks/execute.py        # shortened; nothing is written, headline figures are compared

A notebook prints its headline figures as JSON, `{name: [value, low, high]}`, in the cell tagged `headline`. With
`MMKD_FAST=1`, or with `--check`, the values of the fresh run must lie in the intervals of the committed one. A notebook
whose cell raises, whose last cell's assertions fail, or whose figures moved, makes the exit status 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent
LIMIT = 1200  # seconds for one cell


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="file names without .ipynb; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time")
    parser.add_argument("--check", action="store_true", help="compare headline figures and write nothing")
    options = parser.parse_args()
    check = options.check or os.environ.get("MMKD_FAST") == "1"
    paths = sorted(FOLDER.glob("*.ipynb"))
    if options.names:
        paths = [FOLDER / f"{Path(name).stem}.ipynb" for name in options.names]
    # Notebooks side by side share the processor's threads out, which else wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // options.jobs, 1)))
    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [bool(troubles) for troubles in pool.map(lambda path: report(path, check), paths)]
    # The closing line that test runners print, so that a log's reader finds it.
    print(f"{failed.count(False)} passed, {failed.count(True)} failed")
    return int(any(failed))


def report(path: Path, check: bool) -> list[str]:
    """Execute one notebook, say how it went, and return what is wrong."""
    begin = time.perf_counter()
    committed = nbformat.read(path, as_version=4)
    try:
        fresh = execute(committed)
        troubles = moved(headline(committed), headline(fresh)) if check else []
        if not check:
            nbformat.write(fresh, path)
    except CellExecutionError as error:
        troubles = [str(error)]
    print(f"{path.stem}: {'; '.join(troubles) or 'ok'} ({time.perf_counter() - begin:.0f} s)", flush=True)
    return troubles


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of the notebook with fresh outputs; times of execution and widgets are not kept."""
    fresh = copy.deepcopy(notebook)
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        client = NotebookClient(
            fresh,
            timeout=LIMIT,
            record_timing=False,
            coalesce_streams=True,
            store_widget_state=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    fresh.metadata = copy.deepcopy(notebook.metadata)  # without the version of this machine's Python
    return fresh


def headline(notebook: nbformat.NotebookNode) -> dict[str, list[float]]:
    """What the cell tagged `headline` printed: value, low and high by name.

    Raises `ValueError` where no cell, or more than one, has the tag, or it printed no JSON.
    """
    cells = [cell for cell in notebook.cells if "headline" in cell.metadata.get("tags", ())]
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} cells are tagged `headline`; one is wanted")
    printed = "".join(output.get("text", "") for output in cells[0].outputs if output.output_type == "stream")
    return json.loads(printed)


def moved(committed: dict[str, list[float]], fresh: dict[str, list[float]]) -> list[str]:
    """What of the fresh figures lies outside the committed intervals, in words."""
    troubles = [f"no figure '{name}' any more" for name in committed if name not in fresh]
    for name, (value, *_) in fresh.items():
        if name not in committed:
            troubles.append(f"figure '{name}' is new")
        elif not committed[name][1] <= value <= committed[name][2]:
            _, low, high = committed[name]
            troubles.append(f"'{name}' is {value:.4g}, outside [{low:.4g}, {high:.4g}]")
    return troubles


if __name__ == "__main__":
    sys.exit(main())
