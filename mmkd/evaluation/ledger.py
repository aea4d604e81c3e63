"""The ledger of unsealings: how often test data of one (data set, split) has been looked at on this machine."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from mmkd.files import append_line


def state_dir() -> Path:
    """Where mmkd keeps what outlives a run: `MMKD_STATE`, else the user's state folder."""
    chosen = os.environ.get("MMKD_STATE")
    base = os.environ.get("XDG_STATE_HOME", "~/.local/state")
    return Path(chosen).expanduser() if chosen else Path(base).expanduser() / "mmkd"


def unseal(data: str, split: str, run: str, recipe: str) -> int:
    """Note that a run evaluates test data, and count the different runs that did so, this one included.

    Arguments:
        data: content hash of the data set.
        split: what tells splits apart, e.g. the data set's configuration.
        run: the run directory; a resumed run counts once.
        recipe: its name, for readers of the ledger.
    """
    path = state_dir() / "unsealings.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = set()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a line cut off by a kill says nothing
            if (entry.get("data"), entry.get("split")) == (data, split):
                runs.add(entry.get("run"))
    if run not in runs:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(path, json.dumps({"data": data, "split": split, "run": run, "recipe": recipe, "at": now}))
    return len(runs | {run})
