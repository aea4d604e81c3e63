"""Distributions made by hand: a `.dist-info` folder and a few modules, as pip would leave them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmkd import registry

GOOD = "class Net:\n    pass\n"


def install(
    root: Path,
    name: str,
    declared: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
    requires: Iterable[str] = (),
    head: str | None = None,
) -> Path:
    """Put a distribution into `root`.

    Arguments:
        declared: kind -> component name -> target.
        modules: file -> source.
        head: METADATA, instead of one made of name, version and requires; empty for no such file.

    Returns:
        The `.dist-info` folder.
    """
    info = root / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [
        line for kind, names in declared.items() for line in (f"[mmkd.{kind}]", *map(" = ".join, names.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    if head is None:
        required = "".join(f"Requires-Dist: {line}\n" for line in requires)
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{required}\nName: not a header\n"
    if head:
        (info / "METADATA").write_text(head)
    for file, source in (modules or {}).items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(source)
    registry.refresh()
    return info


def install_core(root: Path, version: str = "0.1.0") -> None:
    """A core of one model, `mlp`."""
    install(root, "mmkd", {"models": {"mlp": "fake_core:Net"}}, {"fake_core.py": GOOD}, version=version)


@contextmanager
def only(monkeypatch: pytest.MonkeyPatch, *roots: Path) -> Iterator[None]:
    """Let the registry see these folders and nothing else; their modules can be imported, and are forgotten after."""
    paths = [str(root) for root in roots]
    monkeypatch.setattr(registry, "metadata", SimpleNamespace(distributions=lambda: metadata.distributions(path=paths)))
    monkeypatch.setattr(sys, "path", [*paths, *sys.path])
    monkeypatch.delenv(registry.SELECTION, raising=False)
    before = set(sys.modules)
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(tuple(paths)):
            del sys.modules[name]
    importlib.invalidate_caches()
