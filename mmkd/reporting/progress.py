"""Progress of a run: bars on a terminal and in a notebook, one plain line per finished arm and seed elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from html import escape
from io import StringIO
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_RESUMED = 0.2  # seconds: a job that took less was read from disk and says nothing of how long the rest will take


def fitting(*, wanted: bool = False) -> AbstractContextManager[Bars | None]:
    """What suits the place: bars in a notebook and on a terminal; elsewhere nothing, or plain lines if `wanted`."""
    if _in_notebook():
        return NotebookBars()
    return Bars() if wanted or (sys.stderr is not None and sys.stderr.isatty()) else nullcontext()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


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


class NotebookBars(Bars):
    """The same bars as one output of a notebook cell: HTML that is drawn anew, no widget, nothing kept by the page.

    When the run ends one line of text stays in its place: what was done, and how long it took.

    Arguments:
        every: seconds between drawings, so that a fast loop does not flood the page.
    """

    def __init__(self, every: float = 0.25) -> None:
        super().__init__(Console(file=StringIO()))
        self.live, self.every = True, every
        self._shown: Any = None
        self._drawn = self._began = time.monotonic()
        self._all = 0

    def __enter__(self) -> NotebookBars:
        from IPython.display import display

        self._shown = display({"text/plain": "", "text/html": ""}, raw=True, display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = "done in" if error is None else "stopped after"
        line = f"{self._all} arms x seeds {ended} {_clock(time.monotonic() - self._began)}"
        self._shown.update({"text/plain": line}, raw=True)

    def stepped(self, step: int, steps: int, losses: Mapping[str, float]) -> None:
        super().stepped(step, steps, losses)
        self._draw()

    def finished(self, arm: str, seed: int, result: Mapping[str, Any]) -> None:
        self._all += 1
        super().finished(arm, seed, result)

    def _describe(self) -> None:
        super()._describe()
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._shown is not None and now - self._drawn >= self.every:
            self._drawn = now
            lines = "".join(_html_of(task) for task in self._progress.tasks)
            self._shown.update({"text/plain": "", "text/html": f"<div>{lines}</div>"}, raw=True)


def _html_of(task: Task) -> str:
    left = "" if task.time_remaining is None else f", {_clock(task.time_remaining)} left"
    words = f"{task.description.strip()} {task.completed:.0f}/{task.total:.0f} {task.fields['note']}".strip()
    bar = f'<progress value="{task.completed:.0f}" max="{task.total:.0f}" style="width: 16em"></progress>'
    return f"<div>{bar} {escape(words)} ({_clock(task.elapsed or 0)}{left})</div>"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 100:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"


def _outcome(result: Mapping[str, Any]) -> str:
    """The validation score, or why there is none."""
    if result.get("status") == "not applicable":
        return f"not applicable, {result.get('reason', '')}"
    for name, value in result.get("valid", {}).items():
        return f"validation {name} {value:.4g}"
    return "done"
