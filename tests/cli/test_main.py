"""The frame of the command line: what becomes of errors, wherever they come from."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from mmkd import __version__
from mmkd.cli import console
from mmkd.cli import main as frame
from mmkd.cli.main import main
from mmkd.errors import DataError

Install = Callable[[Callable[[], object]], None]


@pytest.fixture
def install_command(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a function the command `fake`."""

    def do(function: Callable[[], object]) -> None:
        module = ModuleType("mmkd.cli.fake")
        module.command = click.command()(function)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "mmkd.cli.fake", module)
        monkeypatch.setitem(frame.COMMANDS, "fake", "A command of the tests.")

    return do


def raising(error: BaseException) -> Callable[[], object]:
    def function() -> object:
        raise error

    return function


def test_help_lists_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == text
    for name in frame.COMMANDS:
        assert re.search(rf"^  {name} ", text, re.MULTILINE)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mmkd {__version__}\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (7, 7), ("text", 0)])
def test_a_command_may_return_its_exit_code(install_command: Install, returned: object, code: int) -> None:
    install_command(lambda: returned)
    assert main(["fake"]) == code


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lst"], "error: no command `lst`; did you mean `list`? `mmkd --help` lists the commands\n"),
        (["list", "--jsn"], "`mmkd list --help` shows what it takes\n"),
        (["list", "models", "more"], "`mmkd list --help` shows what it takes\n"),
        (["--nothing"], "`mmkd --help` shows what it takes\n"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.endswith(says)
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("cora.npz is corrupt", "fetch it again"), 3, "error: cora.npz is corrupt; fetch it again\n"),
        (DataError("two\nlines \x1b[31m"), 3, "error: two lines ?[31m\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left", "/big/file"), 4, "error: cannot use /big/file: the disk is full; free"),
        (OSError(errno.EROFS, "Read-only", "/cd"), 4, "error: cannot use /cd: the file system is read-only; choose"),
        (PermissionError(errno.EACCES, "denied", "/root/x"), 4, "error: cannot use /root/x: permission is denied; "),
        (OSError(errno.ENOSPC, "No space left"), 4, "error: cannot use the output: the disk is full; "),
        (ModuleNotFoundError("No", name="onnx"), 1, "error: the Python module `onnx` is not installed; install the"),
        (click.Abort(), 1, "error: stopped at your request\n"),
        (click.BadParameter("must be even"), 2, "error: Invalid value: must be even; `mmkd fake --help` shows"),
    ],
    ids=repr,
)
def test_an_error_is_one_line_and_an_exit_code(
    install_command: Install, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, says: str
) -> None:
    install_command(raising(error))
    assert main(["fake"]) == code
    text = capsys.readouterr().err
    assert text.startswith(says)
    assert text.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "fake"], ["fake", "--debug"]])
def test_debug_shows_the_traceback_too(
    install_command: Install, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    install_command(raising(DataError("cora.npz is corrupt")))
    assert main(arguments) == 3
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text
    assert text.endswith("\nerror: cora.npz is corrupt\n")


def test_after_two_dashes_debug_is_an_argument(install_command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install_command(lambda: 0)
    assert main(["fake", "--", "--debug"]) == 2
    assert "--debug" in capsys.readouterr().err


def test_a_defect_is_one_line_and_its_traceback_is_kept(
    install_command: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    install_command(raising(ZeroDivisionError("by 0")))
    assert main(["fake"]) == 70
    text = capsys.readouterr().err
    [log] = tmp_path.iterdir()
    assert text.startswith("error: ZeroDivisionError: by 0; this is a defect of mmkd")
    assert str(log) in text
    assert text.count("\n") == 1
    assert "Traceback (most recent call last)" in log.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert main(["fake"]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err  # nowhere to keep it, so it is shown


def test_a_group_without_a_sub_command_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], install_command: Install
) -> None:
    install_command(lambda: 0)
    group = click.Group("fake", commands=[click.Command("fetch", callback=lambda: 5)])
    monkeypatch.setattr(sys.modules["mmkd.cli.fake"], "command", group)
    assert main(["fake"]) == 2
    text = capsys.readouterr().err
    assert "Usage: mmkd fake" in text
    assert "fetch" in text
    assert main(["fake", "fetch"]) == 5


def shell(line: str) -> subprocess.CompletedProcess[str]:
    mmkd = f"'{sys.executable}' -m mmkd.cli.main"
    return subprocess.run(["sh", "-c", line.format(mmkd=mmkd)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_is_one_line() -> None:
    done = shell("{mmkd} list > /dev/full")
    assert done.returncode == 4
    assert done.stderr.startswith("error: cannot use the output: the disk is full; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs sh")
def test_a_reader_that_goes_away_and_an_output_that_is_closed_are_no_errors() -> None:
    assert shell("{mmkd} list | true").stderr == ""
    done = shell("{mmkd} --version >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_colours_in_a_file_or_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.colours(Terminal())  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not console.colours(Terminal())  # type: ignore[arg-type]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not console.colours(Terminal())  # type: ignore[arg-type]
    monkeypatch.setenv("TERM", "xterm")
    with open("/dev/null", "w") as file:
        assert not console.colours(file)
    assert console.rich_console(stderr=True).no_color
