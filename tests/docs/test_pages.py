"""The documentation's pages: all are in the navigation, and what they show exists. The strict build is marked slow."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import mmkd
from mmkd import registry
from mmkd.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GENERATED = ("catalogue/", "tutorials/", "reference/cli.md")
VARIABLES = re.compile(r"^(?:[A-Z_]+=\S+ )*")


def named(page: Path) -> str:
    return str(page.relative_to(DOCS))


def navigation(entries) -> list[str]:
    """Every page that `nav` names."""
    found = []
    for entry in entries if isinstance(entries, list) else [entries]:
        found += [entry] if isinstance(entry, str) else [p for inner in entry.values() for p in navigation(inner)]
    return found


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every `mmkd ...` line of the shell blocks, with its page."""
    return [
        (named(page), VARIABLES.sub("", line.split("  #")[0]).strip())
        for page in [*PAGES, ROOT / "README.md"]
        if page.is_relative_to(DOCS)
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if VARIABLES.sub("", line).startswith("mmkd ")
    ]


def test_the_navigation_names_every_page_once():
    told = navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(told) == len(set(told))
    own = {page for page in told if not page.startswith(GENERATED)}
    assert own == {named(page) for page in PAGES}


@pytest.mark.parametrize(("page", "line"), commands(), ids=str)
def test_commands_are_such_as_mmkd_takes(page, line):
    """Command, options and number of arguments, as click reads them; recipes and components are installed."""
    words = shlex.split(line.split(" > ")[0].split(" && ")[0])[1:]
    assert words[0] in COMMANDS
    command = importlib.import_module(f"mmkd.cli.{words[0]}").command
    rest = words[1:]
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(words[0], list(rest))
    names = {entry.name for entry in registry.entries()}
    families = {name.split("/")[0] for name in names if "/" in name}
    for value in context.params.values():
        for word in value if isinstance(value, tuple) else [value]:
            if isinstance(word, str) and word.split("/")[0] in families and "=" not in word:
                assert word in names, f"{page}: {word}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_code_reads_as_its_language(page):
    for block in blocks(page, "python"):
        ast.parse(block)
    for block in blocks(page, "toml"):
        if "weight = 0.5\nweight" not in block:  # alternatives, one below the other
            tomllib.loads(block)


def test_what_the_reference_documents_exists():
    for page in PAGES:
        for path in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            module, _, attribute = path.rpartition(".")
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), attribute), f"{named(page)}: {path}"


def test_every_public_name_is_documented():
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [n for n, place in mmkd._PLACES.items() if f"::: {place}.{n}" not in told]
    assert missing == []


def test_own_python_examples_run(tmp_path):
    """The page on own models is a program, block after block."""
    code = "\n".join(blocks(DOCS / "how-to" / "own-models.md", "python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Loaded(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "embed"):
            self.addresses += [given[key] for key in ("src", "srcset") if given.get(key)]
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(given.get("href") or "")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("material", reason="building the site needs mkdocs-material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        read = Loaded()
        read.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in read.addresses if re.match(r"(\w+:)?//", address)], page
    for sheet in tmp_path.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.findall(r"url\(['\"]?https?:[^)]*\)|@import[^;]*https?:", text), sheet
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert (tmp_path / "tutorials" / f"{notebook.stem}.html").is_file()
