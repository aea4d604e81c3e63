"""Checkpoints that a kill at any moment, a full disk or a flipped bit cannot turn into a wrong resume.

A checkpoint is a directory `step_<N>/` of `tensors.safetensors`, `state.json` and `manifest.json`. It is written as
`step_<N>.tmp/`, the manifest with the sha256 of the others last, and renamed when all of it is on the disk. Safetensors
and JSON only: a pickle is neither written nor read.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mmkd.errors import StorageError
from mmkd.files import sha256_of_bytes, storage_errors, sync_directory, write_synced

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
FORMAT = 1
# A finished checkpoint; `.old<K>` is one that a later save of the same step was replacing when it was killed.
_NAME = re.compile(r"step_(\d+)(?:\.old(\d+))?")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on the disk.

    Arguments:
        step: the optimiser step after which it was taken.
        path: its directory.
    """

    step: int
    path: Path

    def tensors(self) -> dict[str, Tensor]:
        """The tensors, on the CPU, bit-equal to those saved.

        Raises:
            StorageError: the file is absent, cannot be read, or is not what was written.
        """
        try:
            return safetensors.torch.load(self._read(TENSORS))
        except safetensors.SafetensorError as error:
            raise self._corrupt(TENSORS, f"is not safetensors ({error})") from error

    def state(self) -> dict[str, Any]:
        """The state as it was saved: tuples are tuples again, and NaN and infinities are floats.

        Raises:
            StorageError: the file is absent, cannot be read, or is not what was written.
        """
        state: dict[str, Any] = _unpack(json.loads(self._read(STATE)), None)
        return state

    def verify(self) -> None:
        """Reads every file and compares it with the manifest.

        Raises:
            StorageError: names the first file that is absent, of another size or of another content.
        """
        for name in (STATE, TENSORS):
            self._read(name)

    def _read(self, name: str) -> bytes:
        """The bytes of a file, which are those that the manifest describes."""
        entry = self._manifest().get(name)
        if not isinstance(entry, dict):
            raise self._corrupt(MANIFEST, f"does not list {name}")
        data = self._bytes_of(name)
        if len(data) != entry.get("bytes"):
            raise self._corrupt(name, f"has {len(data)} bytes where {entry.get('bytes')} were written")
        if sha256_of_bytes(data) != entry.get("sha256"):
            raise self._corrupt(name, "has another sha256 than when it was written")
        return data

    def _manifest(self) -> dict[str, Any]:
        try:
            manifest = json.loads(self._bytes_of(MANIFEST).decode())
        except ValueError as error:
            raise self._corrupt(MANIFEST, f"is not JSON ({error})") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise self._corrupt(MANIFEST, "lists no files")
        if manifest.get("format") != FORMAT:
            raise self._corrupt(MANIFEST, f"has format {manifest.get('format')}, and this mmkd reads format {FORMAT}")
        if manifest.get("step") != self.step:
            raise self._corrupt(MANIFEST, f"belongs to step {manifest.get('step')}")
        files: dict[str, Any] = manifest["files"]
        return files

    def _bytes_of(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise self._corrupt(name, "is missing") from error
        except OSError as error:
            raise self._corrupt(name, f"cannot be read ({error.strerror})") from error

    def _corrupt(self, name: str, reason: str) -> StorageError:
        return StorageError(f"{self.path / name} {reason}", f"delete {self.path} to go on from an earlier checkpoint")


class Checkpoints:
    """The checkpoints of one training, in one directory; the newest `keep` are kept.

    One process at a time may save (the run's lock sees to that); any number may read.

    Arguments:
        directory: made at the first save.
        keep: how many checkpoints that verify stay on the disk.
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}, but at least one checkpoint must be kept")
        self.directory = Path(directory)
        self.keep = keep

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Checkpoint:
        """Saves a checkpoint, then drops those beyond the newest `keep` and what killed processes left behind.

        Arguments:
            step: optimiser steps done so far.
            tensors: by name; of any device, strides or sharing, stored as contiguous copies.
            state: JSON values under string keys; tuples and non-finite floats too.

        Raises:
            StorageError: the disk refuses; earlier checkpoints are untouched and no half checkpoint stays.
            TypeError: `tensors` or `state` holds something that safetensors or JSON cannot.
            ValueError: `step` is negative.
        """
        if step < 0:
            raise ValueError(f"step is {step}, but the steps done cannot be negative")
        contents = {TENSORS: _tensor_bytes(tensors), STATE: _json_bytes(_pack(dict(state), "state", None))}
        listed = {name: {"sha256": sha256_of_bytes(data), "bytes": len(data)} for name, data in contents.items()}
        contents[MANIFEST] = _json_bytes({"format": FORMAT, "step": step, "files": listed})
        final = self.directory / f"step_{step}"
        temporary = self.directory / f"step_{step}.tmp"
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            try:
                temporary.mkdir()
                for name, data in contents.items():
                    write_synced(temporary / name, data)
                sync_directory(temporary)
                if final.exists():
                    os.rename(final, next(path for path in _asides(final) if not path.exists()))
                os.rename(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_directory(self.directory)
            saved = Checkpoint(step, final)
            self._prune(saved)
        return saved

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, or None where there is none yet.

        Each newer one that does not verify is skipped with one warning, which names the file, what is wrong with it and
        the step that is used instead.

        Raises:
            StorageError: there are checkpoints and none verifies, or the directory cannot be read.
        """
        faults: list[StorageError] = []
        for checkpoint in self._present():
            try:
                checkpoint.verify()
            except StorageError as fault:
                faults.append(fault)
                continue
            for skipped in faults:
                warnings.warn(f"{skipped.cause}; going on from step {checkpoint.step} instead", stacklevel=2)
            return checkpoint
        if faults:
            raise StorageError(
                f"none of the {len(faults)} checkpoints in {self.directory} verifies: "
                + ", ".join(fault.cause for fault in faults),
                f"restore {self.directory} from a copy, or delete it to train from the start",
            )
        return None

    def _present(self) -> list[Checkpoint]:
        """All finished checkpoints, newest first, unverified."""
        with storage_errors(self.directory):
            names = os.listdir(self.directory) if self.directory.exists() else []
        matches = [match for name in names if (match := _NAME.fullmatch(name))]
        matches.sort(key=lambda match: (int(match[1]), float(match[2] or "inf")), reverse=True)
        return [Checkpoint(int(match[1]), self.directory / match[0]) for match in matches]

    def _prune(self, saved: Checkpoint) -> None:
        kept = 1
        for checkpoint in self._present():
            if checkpoint.path == saved.path:
                continue
            if kept < self.keep and checkpoint.step != saved.step and _verifies(checkpoint):
                kept += 1
                continue
            # Renamed first: a kill amid the deletion then leaves no checkpoint that looks corrupt.
            doomed = checkpoint.path.with_name(f"{checkpoint.path.name}.tmp")
            os.rename(checkpoint.path, doomed)
            shutil.rmtree(doomed)

    def _remove_leftovers(self) -> None:
        for name in os.listdir(self.directory):
            if name.startswith("step_") and name.endswith(".tmp"):
                shutil.rmtree(self.directory / name)


def flatten_optimiser(optimiser: torch.optim.Optimizer, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser as what a checkpoint takes: named tensors and JSON.

    Arguments:
        optimiser: any whose state_dict holds tensors, numbers, strings, None, lists, tuples and dicts.
        prefix: put before the tensors' names, to tell several optimisers in one checkpoint apart.

    Returns:
        The tensors (the optimiser's own, not copies: save them before the next step), and the JSON that refers to them.

    Raises:
        TypeError: the state_dict holds something else.
    """
    whole = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    state = {
        "param_groups": _pack(whole["param_groups"], f"{prefix}param_groups", tensors),
        "state": _pack({str(key): value for key, value in whole["state"].items()}, f"{prefix}state", tensors),
        "shapes": [list(parameter.shape) for parameter in _parameters_of(optimiser)],
    }
    return tensors, state


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Puts back what `flatten_optimiser` gave, so that further steps are bit-equal to those of the optimiser saved.

    Arguments:
        optimiser: over parameters of the same shapes in the same order; its settings are replaced by the saved ones.
        tensors: those of `flatten_optimiser`, with or without others; they are copied.
        state: the JSON of `flatten_optimiser`.

    Raises:
        StorageError: the parameters or groups differ from those saved, or a tensor is missing.
    """
    way_out = "resume with the recipe that wrote the checkpoint, or start in a new directory"
    parameters = _parameters_of(optimiser)
    shapes = [list(parameter.shape) for parameter in parameters]
    if shapes != state["shapes"]:
        difference = _difference(state["shapes"], shapes)
        raise StorageError(f"the checkpoint's optimiser is for other parameters: {difference}", way_out)
    try:
        groups = _unpack(state["param_groups"], tensors)
        saved = {int(key): value for key, value in _unpack(state["state"], tensors).items()}
    except KeyError as error:
        raise StorageError(f"the checkpoint has no tensor {error.args[0]!r} for the optimiser", way_out) from error
    for group, present in zip(groups, optimiser.param_groups, strict=False):
        for key, value in group.items():  # a learning rate kept as a tensor stays on the device it is expected on
            if isinstance(value, Tensor) and isinstance(present.get(key), Tensor):
                group[key] = value.to(present[key].device)
    for index, values in saved.items():
        saved[index] = {key: _strided_as(value, parameters[index]) for key, value in values.items()}
    try:
        optimiser.load_state_dict({"param_groups": groups, "state": saved})
    except ValueError as error:
        raise StorageError(f"the checkpoint's optimiser does not fit: {error}", way_out) from error
    for index, values in saved.items():  # torch casts states to their parameter's dtype; undo that where it lost bits
        live = optimiser.state[parameters[index]]
        for key, value in values.items():
            if isinstance(value, Tensor) and live[key].dtype != value.dtype:
                live[key] = value.to(live[key].device)


def _asides(final: Path) -> Iterator[Path]:
    """Where a checkpoint waits while another of the same step takes its place, in the order of use."""
    return (final.with_name(f"{final.name}.old{number}") for number in itertools.count())


def _parameters_of(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _strided_as(value: Any, parameter: Tensor) -> Any:
    """`value` with the memory layout of its parameter (channels_last, say), which the fused kernels want."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape or value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def _difference(saved: list[list[int]], present: list[list[int]]) -> str:
    if len(saved) != len(present):
        return f"{len(saved)} were saved and {len(present)} are there"
    index = next(i for i, (old, new) in enumerate(zip(saved, present, strict=True)) if old != new)
    return f"number {index} was saved as {saved[index]} and is {present[index]}"


def _verifies(checkpoint: Checkpoint) -> bool:
    try:
        checkpoint.verify()
    except StorageError:
        return False
    return True


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Safetensors bytes of copies that share no memory."""
    copies: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise TypeError(f"{name!r} is no dense tensor, and a checkpoint cannot hold it")
        copy = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        where = copy.untyped_storage().data_ptr()
        copies[name] = copy.clone() if where in seen else copy
        seen.add(where)
    try:
        return safetensors.torch.save(copies)
    except KeyError as error:
        raise TypeError(f"a checkpoint cannot hold tensors of type {error.args[0]}") from error


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _pack(value: Any, name: str, tensors: dict[str, Tensor] | None) -> Any:
    """`value` as strict JSON.

    Tuples become {"$tuple": [...]}, non-finite floats {"$float": "inf"}; tensors go to `tensors` under their place and
    leave {"$tensor": place} behind. What is packed already stays as it is.
    """
    if isinstance(value, Tensor) and tensors is not None:
        tensors[name] = value.detach()
        return {"$tensor": name}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, tuple):
        return {"$tuple": _pack(list(value), name, tensors)}
    if isinstance(value, list):
        return [_pack(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {key!r}, but the keys of a checkpoint's state are strings")
        return {key: _pack(item, f"{name}.{key}", tensors) for key, item in value.items()}
    raise TypeError(f"{name} is a {type(value).__name__}, which JSON cannot hold; tensors go into `tensors`")


def _unpack(value: Any, tensors: Mapping[str, Tensor] | None) -> Any:
    """The inverse of `_pack`; tensors are copied, or stay references where `tensors` is None.

    Raises:
        KeyError: a tensor is missing.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(_unpack(item, tensors) for item in value)
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "$tuple":
            return tuple(_unpack(inner, tensors))
        if key == "$float":
            return float(inner)
        if key == "$tensor":
            return value if tensors is None else tensors[inner].clone()
    return {key: _unpack(item, tensors) for key, item in value.items()}
