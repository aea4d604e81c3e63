"""What every command keeps to: help with examples, JSON, no colours where nobody looks, completion."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys

import click
import pytest

from mmkd.cli.main import COMMANDS, main

NOT_JSON = {"completion"}  # it prints a script


def leaves():
    """Every command that does something, with the words that call it."""
    for name in COMMANDS:
        command = importlib.import_module(f"mmkd.cli.{name}").command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", inner) for sub, inner in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize(("words", "command"), list(leaves()), ids=[words for words, _ in leaves()])
def test_help_has_examples_of_this_very_command_and_json(words, command, capsys):
    assert main([*words.split(), "--help"]) == 0
    text = capsys.readouterr().out
    examples = text.split("Example")[1]
    assert f"mmkd {words}" in examples
    for option in re.findall(r"--[a-z][a-z-]+", examples):
        assert option in text.split("Example")[0] or option == "--nproc-per-node", option
    assert words in NOT_JSON or "--json" in text
    assert command.help or command.__doc__


def test_exit_codes_are_documented(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for code in (0, 1, 2, 3, 4, 5, 70, 130):
        assert re.search(rf"^ +{code} +\w", text, re.MULTILINE)


@pytest.mark.parametrize("words", ["list", "data list", "run --help", "plugin check --help"])
def test_nothing_is_coloured_in_a_pipe(words):
    environment = {**os.environ, "PYTHONWARNINGS": "default", "TERM": "xterm-256color", "CLICOLOR": "1"}
    command = [sys.executable, "-m", "mmkd", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mmkd rep", {"reproduce"}),
        ("mmkd run moo", set()),
        ("mmkd show methods rk", {"rkd"}),
        ("mmkd show schem", {"schemes"}),
        ("mmkd plugin ch", {"check"}),
    ],
)
def test_completion_offers_names_without_importing_torch(words, expected):
    given = {"_MMKD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = "import sys\nfrom mmkd.cli.main import main\ntry:\n    main([])\nexcept SystemExit:\n    pass\n"
    code += "print('torch' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **given}, check=True)
    assert {line.partition(",")[2] for line in done.stdout.splitlines() if line} == expected
    assert done.stderr.strip().endswith("False")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "_MMKD_COMPLETE" in text
    assert f"{shell}_complete" in text


def test_show_as_json(capsys):
    assert main(["show", "methods", "rkd", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["settings"]["role"]["required"] is False or said["settings"]["role"]["default"] is None
    assert said["citation"]


def test_show_says_what_a_student_needs_when_it_is_used(capsys):
    assert main(["show", "methods", "graph/nosmog"]) == 0
    assert "\nAt inference: `position`" in capsys.readouterr().out
    assert main(["show", "methods", "rkd"]) == 0
    assert "At inference" not in capsys.readouterr().out
