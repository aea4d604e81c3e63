"""Checks of a wheel: what it holds, and all conformance checks with the wheel unpacked, away from its source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from functools import partial
from pathlib import Path

from mmkd.errors import ConfigError, StorageError
from mmkd.testing.checks import Check, Outcome, Report, run_checks


def check_wheel(path: Path, *, slow: bool, told: Callable[[Outcome], None] = lambda outcome: None) -> Report:
    """Run every check on a wheel.

    Arguments:
        path: the file; a wheel of Python code alone, whose requirements are installed.
        slow: run the slow checks too.
        told: called with each outcome.

    Raises `ConfigError` where the file is no wheel that declares components.
    """
    try:
        wheel = zipfile.ZipFile(path)
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        distribution = HeaderParser().parsestr(wheel.read(metadata).decode())["Name"]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a wheel ({error})") from error
    subject = f"distribution {distribution}"
    own = [Check(subject, "the wheel holds no tests", partial(_no_tests, names))]
    report = run_checks(own, told)
    with wheel, tempfile.TemporaryDirectory() as folder:
        wheel.extractall(folder)
        command = [
            sys.executable,
            "-m",
            "mmkd",
            "plugin",
            "check",
            distribution,
            "--json",
            *([] if slow else ["--quick"]),
        ]
        paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False, cwd=folder
        )
        if done.returncode not in (0, 1) or not done.stdout.lstrip().startswith("{"):
            said = done.stderr.strip().splitlines() or ["nothing was said"]
            raise StorageError(f"{path.name}: its checks could not be run ({said[-1].removeprefix('error: ')})")
        for held in json.loads(done.stdout)["checks"]:
            report.outcomes.append(Outcome(**held))
            told(report.outcomes[-1])
    return report


def _no_tests(names: list[str]) -> None:
    """Files of tests outside the package would overwrite those of other distributions."""
    tests = [name for name in names if name.split("/")[0] in ("tests", "test")]
    assert not tests, f"the wheel installs {tests[0]} at the top of site-packages"
