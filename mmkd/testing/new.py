"""A new plugin from templates: a whole distribution whose tests pass at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmkd.errors import ConfigError, StorageError
from mmkd.files import storage_errors, write_atomic

KINDS = ("model", "method", "adapter", "dataset", "recipe")
_FILES = {  # template: (place, the kind that it is for; empty: always)
    "pyproject.toml": ("pyproject.toml", ""),
    "README.md": ("README.md", ""),
    "init.py": ("{package}/__init__.py", ""),
    "checks.toml": ("{package}/checks.toml", ""),
    "dataset.py": ("{package}/dataset.py", "dataset"),
    "card.md": ("{package}/data_cards/two-sensors.md", "dataset"),
    "model.py": ("{package}/model.py", "model"),
    "method.py": ("{package}/method.py", "method"),
    "adapter.py": ("{package}/adapter.py", "adapter"),
    "recipes_init.py": ("{package}/recipes/__init__.py", "recipe"),
    "main.toml": ("{package}/recipes/main.toml", "recipe"),
    "test_conformance.py": ("tests/test_conformance.py", ""),
    "test_dataset.py": ("tests/test_dataset.py", "dataset"),
    "test_model.py": ("tests/test_model.py", "model"),
    "test_method.py": ("tests/test_method.py", "method"),
    "test_adapter.py": ("tests/test_adapter.py", "adapter"),
}


def new_plugin(family: str, kinds: Sequence[str] = KINDS, folder: Path | None = None) -> list[Path]:
    """Write a distribution `mmkd-<family>`.

    Arguments:
        family: first part of its components' names: `acoustics` gives `acoustics/net`.
        kinds: some of `KINDS`; a recipe brings a data set with it, which it needs.
        folder: where to; default `mmkd-<family>`; absent or empty.

    Returns:
        The files written.

    Raises `ConfigError` for a bad name or kind, `StorageError` where the folder holds something.
    """
    family = family.removeprefix("mmkd-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", family):
        raise ConfigError(f"'{family}' is no name for a family", "small letters, digits and '-': e.g. acoustics")
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ConfigError(f"--kinds: '{unknown[0]}' is not known", f"some of {','.join(KINDS)}")
    if not kinds:
        raise ConfigError("--kinds names none", f"some of {','.join(KINDS)}")
    chosen = [kind for kind in KINDS if kind in kinds or (kind == "dataset" and "recipe" in kinds)]
    root = folder or Path(f"mmkd-{family}")
    with storage_errors(root):
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise StorageError(f"{root} is there already", "name another folder: --into")
    own = "model" in chosen
    words = {
        "family": family,
        "distribution": f"mmkd-{family}",
        "package": f"mmkd_{family.replace('-', '_')}",
        "kinds": chosen,
        "model": f"{family}/net" if own else "mlp",
        "width": "width" if own else "hidden",
    }
    templates = Environment(
        loader=PackageLoader("mmkd.testing", "template"),
        autoescape=False,  # it writes Python and TOML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    written = []
    for template, (place, kind) in _FILES.items():
        if kind and kind not in chosen:
            continue
        path = root / place.format(**words)
        text = templates.get_template(f"{template}.j2").render(words)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
        written.append(path)
    return written
