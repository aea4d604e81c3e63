"""Fakes of whole domains are installed as a third party's would be: a `.dist-info` folder with entry points."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmkd import registry
from tests.registry.fakes import install


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], str]]:
    """`plugin("models", "fake/net", f"{__name__}:Net")` installs a class, once, and gives its name; it is gone after.

    The ledger of unsealings is the test's own, and nobody waits for the disk.
    """
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    root = tmp_path / "plugins"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    known: list[tuple[str, str, str]] = []

    def offer(kind: str, name: str, target: str) -> str:
        if (kind, name, target) not in known:
            known.append((kind, name, target))
            install(root, f"fake-{len(known)}", {kind: {name: target}})
        return name

    yield offer
    monkeypatch.undo()
    registry.refresh()
