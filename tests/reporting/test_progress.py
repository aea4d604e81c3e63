from io import StringIO

import pytest
from rich.console import Console

from mmkd.reporting.progress import Bars

DONE = {"status": "done", "valid": {"accuracy": 0.91234}, "test": {"accuracy": 0.5}}


def watch(bars: Bars) -> None:
    """What a run of two arms tells."""
    bars.begin(2, 0)
    bars.started("alone", 0)
    bars.stepped(0, 100, {"loss": 1.5, "task": 0.5})
    bars.stepped(50, 100, {"loss": 0.25})
    bars.finished("alone", 0, DONE)
    bars.started("restricted-teacher", 0)
    bars.finished("restricted-teacher", 0, {"status": "not applicable", "reason": "no such field [x]"})


def test_a_file_gets_one_line_per_job_and_no_test_scores():
    file = StringIO()
    with Bars(Console(file=file, width=40)) as bars:
        watch(bars)
    first, second = file.getvalue().splitlines()
    assert first.startswith("[1/2] alone, seed 0: validation accuracy 0.9123 (")
    assert second.startswith("[2/2] restricted-teacher, seed 0: not applicable, no such field [x] (")


def test_a_terminal_gets_bars():
    file = StringIO()
    with Bars(Console(file=file, width=100, force_terminal=True)) as bars:
        bars.begin(4, 1)
        bars.started("distilled", 3)
        bars.stepped(49, 100, {"loss": 0.25, "task": 0.1})
        bars._progress.refresh()
    shown = file.getvalue()
    for word in ("arms x seeds", "1/4", "distilled, seed 3", "50/100", "loss 0.25"):
        assert word in shown
    assert "task" not in shown


def test_losses_of_several_updates_are_all_shown():
    file = StringIO()
    with Bars(Console(file=file, width=140, force_terminal=True)) as bars:
        bars.begin(1, 0)
        bars.stepped(0, 10, {"a/loss": 1.0, "a/task": 9.0, "b/loss": 2.0})
        bars._progress.refresh()
    assert "a/loss 1, b/loss 2" in file.getvalue()


def test_parallel_jobs_are_named_together():
    with Bars(Console(file=StringIO(), width=100, force_terminal=True)) as bars:
        bars.begin(8, 0)
        for seed in range(4):
            bars.started("alone", seed)
        assert bars._progress.tasks[0].fields["note"] == "alone, seed 0; alone, seed 1 and 2 more"


def test_the_step_bar_goes_with_its_job():
    with Bars(Console(file=StringIO(), width=100, force_terminal=True)) as bars:
        watch(bars)
        assert [task.description for task in bars._progress.tasks] == ["arms x seeds"]
        assert bars._progress.tasks[0].completed == 2


def test_an_error_leaves_the_terminal_in_order():
    file = StringIO()

    def fail() -> None:
        with Bars(Console(file=file, width=100, force_terminal=True)) as bars:
            bars.begin(2, 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.getvalue().endswith(("\x1b[?25h", "\x1b[2K"))
