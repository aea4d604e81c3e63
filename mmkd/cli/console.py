"""What the commands print with. Plain text needs nothing; `rich` is imported only by `rich_console`.

Results go to stdout, all else (errors, warnings, progress) to stderr. Colours only on a terminal, and never where
`NO_COLOR` is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def colours(stream: TextIO | None = None) -> bool:
    """Whether to colour what is written to `stream` (stdout by default)."""
    stream = sys.stdout if stream is None else stream
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def rich_console(*, stderr: bool = False) -> Console:
    """A rich console that follows `colours`. Imports rich, which takes about 0.1 s."""
    from rich.console import Console

    return Console(stderr=stderr, no_color=not colours(sys.stderr if stderr else sys.stdout), highlight=False)


def error(line: str) -> None:
    """Print `error: <line>` on stderr, as one line."""
    _note("error", line, "31")


def warn(line: str) -> None:
    """Print `warning: <line>` on stderr, as one line."""
    _note("warning", line, "33")


def print_json(value: object) -> None:
    """Print a value as JSON on stdout: what `--json` does in every command."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print left-aligned columns on stdout, in plain text."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    bold, plain = ("\x1b[1m", "\x1b[0m") if colours() else ("", "")
    lines = []
    for row in [headers, *cells]:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    lines[0] = f"{bold}{lines[0]}{plain}"
    print("\n".join(lines))


def one_line(text: str) -> str:
    """The text with line breaks folded and control characters made visible: it may come from somebody else's files."""
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _note(word: str, line: str, colour: str) -> None:
    start, end = (f"\x1b[{colour}m", "\x1b[0m") if colours(sys.stderr) else ("", "")
    print(f"{start}{word}:{end} {one_line(line)}", file=sys.stderr)
