"""Rows of a benchmark: printed as a table, written as JSON."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Row:
    """One figure.

    Arguments:
        name: what was measured.
        value: as measured.
        unit: of the value.
        reference: the published or wanted figure, in words.
        source: where the reference comes from.
    """

    name: str
    value: float | str
    unit: str
    reference: str = ""
    source: str = ""


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser


def show(rows: list[Row], path: Path | None) -> None:
    """Print the rows and, where asked, write them."""
    widths = [max(len(_cell(getattr(row, key))) for row in rows) for key in ("name", "value", "unit", "reference")]
    for row in rows:
        cells = [_cell(value).ljust(width) for value, width in zip(asdict(row).values(), widths, strict=False)]
        print("  ".join(cells).rstrip())
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
