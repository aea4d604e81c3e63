"""Progress of a run: bars on a terminal, one plain line per finished arm and seed elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_RESUMED = 0.2  # seconds: a job that took less was read from disk and says nothing of how long the rest will take


class Bars:
    """Draws what `mmkd.evaluation.run` tells it (its `Watcher`): a bar over arms and seeds, and one over steps.

    Use it as a context manager. It prints validation scores alone, so nobody peeks at test data while a run goes on.

    Arguments:
        console: where to; default: standard error, so that standard output holds results alone.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            expand=True,
            disable=not self.live,
            speed_estimate_period=3600,
        )
        self._jobs = self._done = 0
        self._running: dict[tuple[str, int], float] = {}
        self._overall: TaskID | None = None
        self._steps: TaskID | None = None

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, jobs: int, done: int, what: str = "") -> None:
        """A run of `jobs` arms x seeds starts, `done` of which are finished; `what` names a point of a curve."""
        self._jobs, self._done = jobs, done
        if self._overall is not None:
            self._progress.remove_task(self._overall)
        self._overall = self._progress.add_task(what or "arms x seeds", total=jobs, completed=done, note="")
        if what and not self.live:
            self.console.print(Text(what), soft_wrap=True)

    def started(self, arm: str, seed: int) -> None:
        """A job starts."""
        self._running[arm, seed] = time.monotonic()
        self._describe()

    def stepped(self, step: int, steps: int, losses: Mapping[str, float]) -> None:
        """The only running job took a step; the first is 0."""
        if not self.live:
            return
        shown = {name: value for name, value in losses.items() if name == "loss" or name.endswith("/loss")} or losses
        note = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        if self._steps is None:
            self._steps = self._progress.add_task("  steps", total=steps, note="")
        self._progress.update(self._steps, total=steps, completed=step + 1, note=note)

    def finished(self, arm: str, seed: int, result: Mapping[str, Any]) -> None:
        """A job ended."""
        seconds = time.monotonic() - self._running.pop((arm, seed), time.monotonic())
        self._done += 1
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None
        if self._overall is not None:
            if seconds < _RESUMED:
                self._progress.reset(self._overall, total=self._jobs, completed=self._done)
            else:
                self._progress.update(self._overall, completed=self._done)
        self._describe()
        if not self.live:
            line = f"[{self._done}/{self._jobs}] {arm}, seed {seed}: {_outcome(result)} ({seconds:.1f} s)"
            self.console.print(Text(line), soft_wrap=True)

    def _describe(self) -> None:
        if self._overall is not None:
            running = [f"{arm}, seed {seed}" for arm, seed in self._running]
            more = f" and {len(running) - 2} more" if len(running) > 2 else ""
            self._progress.update(self._overall, note="; ".join(running[:2]) + more)


def _outcome(result: Mapping[str, Any]) -> str:
    """The validation score, or why there is none."""
    if result.get("status") == "not applicable":
        return f"not applicable, {result.get('reason', '')}"
    for name, value in result.get("valid", {}).items():
        return f"validation {name} {value:.4g}"
    return "done"
