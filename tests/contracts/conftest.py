"""Fakes of whole domains are installed as a third party's would be: a `.dist-info` folder with entry points."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from mmkd import registry
from tests.registry.fakes import install

Plugin = Callable[[str, str, str], str]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], str]:
    """`plugin("models", "fake/net", "tests.contracts.fake:Net")` offers a class; it is gone after the test.

    A target of one name, `"Net"`, is not enough: give the module, `f"{__name__}:Net"`.
    """
    root = tmp_path / "plugins"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    numbers = itertools.count()

    def offer(kind: str, name: str, target: str) -> str:
        install(root, f"fake-{next(numbers)}", {kind: {name: target}})
        return name

    yield offer
    monkeypatch.undo()
    registry.refresh()
