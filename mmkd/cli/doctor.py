"""`mmkd doctor`: what this installation is, and what of it is broken."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib import metadata
from itertools import groupby
from operator import itemgetter
from typing import Any

import click

from mmkd import registry
from mmkd.cli import console
from mmkd.errors import RegistryError

PACKAGES = ("torch", "numpy", "scipy", "pydantic", "safetensors", "onnx", "onnxruntime")


@click.command(epilog="\b\nExamples:\n  mmkd doctor\n  mmkd doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Check the installation, the device, the data folder and every component.

    Imports each registered component; those that break are named. Exit code 1 if anything is broken.
    """
    with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints on import must not spoil the JSON
        report = examine()
    if as_json:
        console.print_json(report)
    else:
        _print(report)
    return 0 if report["ok"] else 1


def examine() -> dict[str, Any]:
    """Everything that `mmkd doctor` says, as JSON values."""
    entries = registry.entries()
    device, trouble = _device()
    data = _data()
    broken = [{**asdict(entry), "error": error.cause, "way_out": error.way_out} for entry, error in _broken(entries)]
    problems = [*registry.problems(), *trouble, *([data["problem"]] if data["problem"] else [])]
    return {
        "ok": not broken and not problems,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "mmkd": registry.distributions().get(registry.CORE, registry.UNKNOWN_VERSION),
        "plugins": {name: version for name, version in registry.distributions().items() if name != registry.CORE},
        "packages": {name: _version(name) for name in PACKAGES},
        **device,
        "data": data,
        "components": {"checked": len(entries), "broken": broken},
        "problems": problems,
    }


def _broken(entries: Iterable[registry.Entry]) -> Iterator[tuple[registry.Entry, RegistryError]]:
    for entry in sorted(entries, key=lambda entry: entry.distribution):
        try:
            registry.load(entry)
        except RegistryError as error:
            yield entry, error


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except Exception:  # absent, or metadata that cannot be read
        return None


def _device() -> tuple[dict[str, Any], list[str]]:
    """The device and threads that torch sees, and what is wrong with torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        import torch

        name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
        device = f"cuda ({name})" if torch.cuda.is_available() else f"cpu ({name})"
        return {"device": device, "threads": torch.get_num_threads(), "cores": cores}, []
    except Exception as error:
        line = f"torch cannot be used ({type(error).__name__}: {error}); reinstall it"
        return {"device": None, "threads": None, "cores": cores}, [line]


def _data() -> dict[str, Any]:
    """Where data sets are kept, whether that can be written, and the space left there."""
    try:
        from mmkd.data.root import VARIABLE, data_root

        root = data_root()
    except Exception as error:
        return {"root": None, "problem": f"the data folder cannot be told ({type(error).__name__}: {error})"}
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    problem = ""
    if not existing.is_dir():
        problem = f"the data folder {root} cannot be made, because {existing} is a file; set {VARIABLE} to a folder"
    return {
        "root": str(root),
        "set_by": VARIABLE if os.environ.get(VARIABLE) else "default",
        "exists": root.is_dir(),
        "writable": existing.is_dir() and os.access(existing, os.W_OK),
        "free_gb": round(shutil.disk_usage(existing).free / 1e9, 1),
        "problem": problem,
    }


def _data_line(data: dict[str, Any]) -> str:
    if data["root"] is None:
        return "unknown"
    state = ("" if data["exists"] else ", not made yet") + ("" if data["writable"] else ", read-only")
    return f"{data['root']} ({data['set_by']}{state}), {data['free_gb']} GB free"


def _print(report: dict[str, Any]) -> None:
    components = report["components"]
    rows = [
        ("python", f"{report['python']} on {report['platform']}"),
        ("mmkd", report["mmkd"]),
        *((f"  {name}", version) for name, version in report["plugins"].items()),
        ("packages", ", ".join(f"{name} {version or 'absent'}" for name, version in report["packages"].items())),
        ("device", report["device"] or "none: torch cannot be used"),
        ("threads", f"{report['threads']} of {report['cores']} cores"),
        ("data", _data_line(report["data"])),
        ("components", f"{components['checked']} checked, {len(components['broken'])} broken"),
    ]
    console.print_table(("CHECK", "FOUND"), rows)
    for way_out, items in groupby(components["broken"], key=itemgetter("way_out")):  # once for all of a distribution's
        for item in items:
            console.error(item["error"])
        console.error(f"what to do: {way_out}")
    for line in report["problems"]:
        console.error(line)
