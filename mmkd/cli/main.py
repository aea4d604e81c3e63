"""The command line: `mmkd COMMAND ...`. Importing this imports no command, no plugin, no torch and no rich.

A command is a line in `COMMANDS` and a file `mmkd/cli/<name>.py` that defines `command`, a click command or group. Its
function may return an exit code, and raises `MmkdError` for bad input; it imports torch itself, never the file.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from mmkd.cli import console
from mmkd.errors import ConfigError, MmkdError

COMMANDS = {
    "list": "List the components and recipes that are installed.",
    "show": "Print a recipe as it resolves, or what is known of a component.",
    "explain": "Show what a recipe connects: taps, adapters, losses, shapes and parameters.",
    "run": "Train a recipe's arms and print what the distillation was worth.",
    "compare": "Set finished runs side by side and test their differences.",
    "reproduce": "Run a finished run again and say whether it comes out bit for bit equal.",
    "board": "Write one page over all runs.",
    "export": "Write a run's student as a bundle that needs only its own inputs.",
    "predict": "Run a bundle on a file.",
    "verify": "Check a bundle: its files, what it reads, its predictions.",
    "data": "Fetch, verify and describe data sets.",
    "plugin": "Start a plugin, or check one.",
    "completion": "Print the script that makes a shell complete mmkd's commands.",
    "doctor": "Check the installation, the device, the data folder and every component.",
}

_INTERRUPTED = 130
_DEFECT = 70


class _InterruptError(Exception):
    """Ctrl-C, told apart from what typer makes of it."""


class _LazyGroup(click.Group):
    """A group that imports a command's file when the command is used, and lists commands from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            raise ConfigError(f"no command `{cmd_name}`", f"{hint}`mmkd --help` lists the commands")
        command: click.Command = importlib.import_module(f"mmkd.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _InterruptError from None


EPILOG = """
\b
Examples:
  mmkd list recipes
  mmkd run graph/glnn --jobs 2
  mmkd export runs/graph-glnn-1a2b3c4d
  mmkd COMMAND --help

\b
Exit codes:
  0    done
  1    it ran, and what it checked is not so; or a package is absent
  2    wrong usage, recipe, setting or component
  3    data that is absent, corrupt or of another form
  4    a disk that is full or read-only, a file that does not verify
  5    training that cannot go on
  70   a defect of mmkd
  130  interrupted

Results go to stdout, all else to stderr; colours only on a terminal, and never where NO_COLOR is set.
"""


@click.group(cls=_LazyGroup, invoke_without_command=True, epilog=EPILOG)
@click.option("--version", is_flag=True, help="Print the version and exit.")
@click.option("--debug", is_flag=True, help="Show tracebacks. May stand anywhere.")
@click.pass_context
def _mmkd(ctx: click.Context, version: bool, debug: bool) -> None:
    """Distil a teacher into a student that needs less, and prove what it was worth."""
    if version:
        from mmkd import __version__

        print(f"mmkd {__version__}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Arguments:
        arguments: those of the process by default.

    Returns:
        The exit code: 0; the `exit_code` of an `MmkdError`; 2 for wrong usage; 4 for a disk that is full or may not be
        written; 70 for a defect of mmkd; 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given[: given.index("--")] if "--" in given else given
    debug = "--debug" in own
    given = [argument for argument in own if argument != "--debug"] + given[len(own) :]
    try:
        code = _mmkd.main(args=given, prog_name="mmkd", standalone_mode=False)
        _flush()
    except (KeyboardInterrupt, _InterruptError):
        console.error("interrupted")
        code = _INTERRUPTED
    except BrokenPipeError:  # `mmkd list | head`
        code = 1
    except Exception as error:
        if debug:
            sys.excepthook(type(error), error, error.__traceback__)
        code = _report(error, debug)
    _silence_broken_stdout()
    return code if isinstance(code, int) else 0


def _report(error: Exception, debug: bool) -> int:
    """Print one line for an error; returns the exit code."""
    if isinstance(error, OSError):
        error = _storage_error(error)
    if isinstance(error, MmkdError):
        console.error(str(error))
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group of sub-commands, given none
        error.show()
        return ConfigError.exit_code
    if isinstance(error, click.ClickException):
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mmkd"
        console.error(f"{error.format_message().rstrip('. ')}; `{path} --help` shows what it takes")
        return ConfigError.exit_code
    if isinstance(error, click.Abort):
        console.error("stopped at your request")
        return 1
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("mmkd."):
        console.error(
            f"the Python module `{error.name}` is not installed; install the package, or mmkd's extra, that has it"
        )
        return 1
    _report_defect(error, debug)
    return _DEFECT


def _storage_error(error: OSError) -> Exception:
    """What the disk refused, told in one line; any other error as it is."""
    from mmkd.files import storage_errors

    try:
        with storage_errors(error.filename or "the output"):
            raise error
    except Exception as told:
        return told


def _report_defect(error: Exception, debug: bool) -> None:
    """One line for an error that nobody foresaw; its traceback goes to a file, so that a long run doesn't lose it."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if debug:
        console.error(f"{what}; this is a defect of mmkd: please report it with the lines above")
        return
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="mmkd-", suffix=".log", delete=False) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        traceback.print_exception(error)
        console.error(f"{what}; this is a defect of mmkd: please report it with the lines above")
    else:
        console.error(f"{what}; this is a defect of mmkd: please report it with {file.name}, or show more with --debug")


def _flush() -> None:
    if sys.stdout is not None:  # it is None where the caller closed it
        sys.stdout.flush()


def _silence_broken_stdout() -> None:
    """If stdout cannot be written, keep the interpreter from trying again, and complaining, when it exits."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
