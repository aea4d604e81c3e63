"""Readers of the Heterogeneous Graph Benchmark's text files: a zip archive, or the folder that it unpacks to.

    info.dat         JSON: names of the types of nodes and links, and of the classes
    node.dat         id, name, type, features (comma-separated; absent for a type that has none)
    link.dat         source, target, type, weight
    label.dat        id, name, type, class: the labels that one may learn from
    label.dat.test   the same for half of the test nodes

Columns are tab-separated; ids count through the types, one block after the other. `label.dat.test_full` lists every
test node, but with classes drawn at random (they agree with `label.dat.test` as often as chance has it: on ACM in 351
of 1,059 nodes), so it is never read.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError

Rows = NDArray[np.int64]
EdgeType = tuple[str, str, str]
PARTS = ("info.dat", "node.dat", "link.dat", "label.dat", "label.dat.test")
_COLUMNS = 4


@dataclass(frozen=True)
class TypedFile:
    """What the files hold; ids are those of the files less the first of their type.

    Arguments:
        features: `[nodes, F]` by type; None where a type has none.
        counts: nodes by type.
        edges: `[2, E]` (source, target) by (type of source, name, type of target), as on file.
        target: the type that has labels.
        classes: their names.
        labelled: ids and classes of `label.dat`, `[2, L]`.
        tested: the same of `label.dat.test`.
    """

    features: Mapping[str, NDArray[np.float32] | None]
    counts: Mapping[str, int]
    edges: Mapping[EdgeType, Rows]
    target: str
    classes: tuple[str, ...]
    labelled: Rows
    tested: Rows


def read_hgb(place: Path) -> TypedFile:
    """Read an archive or folder.

    Raises:
        DataError: it is absent, damaged or incomplete, or a line says what cannot be: a wrong number of columns, an id
            twice or out of its type's block, a feature that is not finite, a link to a node that is not there, a class
            that is not named, several classes of one node. The error names file and line.
    """
    text = _texts(place)
    where = {part: f"{place}: {part}" for part in PARTS}
    types, links, classes = _info(text["info.dat"], where["info.dat"])
    features, first = _nodes(text["node.dat"], types, where["node.dat"])
    counts = {name: len(rows) for name, rows in features.items()}
    edges = _links(text["link.dat"], links, first, counts, where["link.dat"])
    ((target, names),) = classes.items()
    labelled, tested = (
        _labels(text[part], types, target, first[target], counts[target], len(names), where[part])
        for part in ("label.dat", "label.dat.test")
    )
    if common := sorted(set(labelled[0].tolist()) & set(tested[0].tolist())):
        raise DataError(f"{where['label.dat.test']} names node {common[0] + first[target]}, which label.dat names too")
    held = {name: rows if rows.shape[1] else None for name, rows in features.items()}
    return TypedFile(held, counts, edges, target, names, labelled, tested)


def _texts(place: Path) -> dict[str, bytes]:
    """The files, by name."""
    if place.is_dir():
        missing = [part for part in PARTS if not (place / part).is_file()]
        found = {part: (place / part).read_bytes() for part in PARTS if part not in missing}
    else:
        try:
            with zipfile.ZipFile(place) as archive:
                members = {name.rpartition("/")[2]: name for name in archive.namelist()}
                missing = [part for part in PARTS if part not in members]
                found = {part: archive.read(members[part]) for part in PARTS if part in members}
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(f"{place} is no whole zip archive ({error})", "download it again") from error
    if missing:
        raise DataError(f"{place} lacks {', '.join(missing)}", f"it must hold {', '.join(PARTS)}")
    return found


def _info(
    text: bytes, where: str
) -> tuple[dict[int, str], dict[int, tuple[str, str, str]], dict[str, tuple[str, ...]]]:
    """Names of node types by number, (source, name, target) of link types, and names of classes by node type."""
    try:
        info = json.loads(text)
        types = {int(number): str(name) for number, name in info["node.dat"]["node type"].items()}
        links = {}
        for number, link in info["link.dat"]["link type"].items():
            source, target = types[int(link["start"])], types[int(link["end"])]
            words = str(link["meaning"]).split("-")
            links[int(number)] = (source, words[1] if len(words) == 3 else "to", target)
        labels = info["label.dat"]["node type"]
        classes = {
            types[int(number)]: tuple(str(names[str(place)]) for place in range(len(names)))
            for number, names in labels.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} is not the JSON of such a data set ({type(error).__name__}: {error})") from error
    if len(classes) != 1:
        raise DataError(f"{where} has labels of {len(classes)} types of nodes, and one type is to be classified")
    if len(set(links.values())) < len(links):
        raise DataError(f"{where} gives two types of links one name")
    return types, links, classes


def _nodes(text: bytes, types: Mapping[int, str], where: str) -> tuple[dict[str, NDArray[np.float32]], dict[str, int]]:
    """Features by type, `[nodes, 0]` where there are none, and the first id of each type."""
    ids: dict[str, list[int]] = {name: [] for name in types.values()}
    values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in types.values()}
    for number, line in enumerate(text.splitlines(), 1):
        columns = line.split(b"\t")
        if len(columns) not in (3, 4):
            raise DataError(f"{where}, line {number} has {len(columns)} columns, not id, name, type and features")
        name = types.get(_whole(columns[2], where, number))
        if name is None:
            raise DataError(f"{where}, line {number} is of type {columns[2].decode()}, which info.dat does not name")
        row = _numbers(columns[3], where, number) if len(columns) == 4 else np.empty(0, np.float32)
        if not np.isfinite(row).all():
            raise DataError(f"{where}, line {number} holds a feature that is not finite")
        if values[name] and len(values[name][0]) != len(row):
            raise DataError(
                f"{where}, line {number} has {len(row)} features, and others of its type {len(values[name][0])}"
            )
        ids[name].append(_whole(columns[0], where, number))
        values[name].append(row)
    first, rows = {}, {}
    for name in types.values():
        if not ids[name]:
            raise DataError(f"{where} holds no node of type {name}")
        order = np.argsort(ids[name], kind="stable")
        found = np.asarray(ids[name])[order]
        if not np.array_equal(found, found[0] + np.arange(len(found))):
            raise DataError(f"{where}: the ids of type {name} are no unbroken row of numbers, each there once")
        first[name], rows[name] = int(found[0]), np.stack(values[name])[order]
    return rows, first


def _links(
    text: bytes,
    links: Mapping[int, EdgeType],
    first: Mapping[str, int],
    counts: Mapping[str, int],
    where: str,
) -> dict[EdgeType, Rows]:
    try:
        table = np.loadtxt(io.BytesIO(text), delimiter="\t", ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where} cannot be read ({' '.join(str(error).split())})") from error
    if table.shape[1] != _COLUMNS:
        raise DataError(f"{where} has {table.shape[1]} columns, not source, target, type and weight")
    numbers = table[:, :3].astype(np.int64)
    if unknown := sorted(set(numbers[:, 2].tolist()) - set(links)):
        raise DataError(f"{where} has links of type {unknown[0]}, which info.dat does not name")
    edges = {}
    for number, (source, name, target) in links.items():
        chosen = numbers[:, 2] == number
        ends = []
        for column, end in ((0, source), (1, target)):
            local = numbers[chosen, column] - first[end]
            if (outside := (local < 0) | (local >= counts[end])).any():
                line = int(np.flatnonzero(chosen)[outside][0])
                raise DataError(f"{where}, line {line + 1} ties node {numbers[line, column]}, which is no {end}")
            ends.append(local)
        edges[source, name, target] = np.stack(ends)
    return edges


def _labels(
    text: bytes, types: Mapping[int, str], target: str, first: int, count: int, classes: int, where: str
) -> Rows:
    ids, labels = [], []
    for number, line in enumerate(text.splitlines(), 1):
        columns = line.split(b"\t")
        if len(columns) != _COLUMNS:
            raise DataError(f"{where}, line {number} has {len(columns)} columns, not id, name, type and class")
        if b"," in columns[3]:
            raise DataError(
                f"{where}, line {number} gives a node several classes ({columns[3].decode()})",
                "only sets with one class per node can be read",
            )
        row, label = _whole(columns[0], where, number) - first, _whole(columns[3], where, number)
        if types.get(_whole(columns[2], where, number)) != target or not 0 <= row < count:
            raise DataError(f"{where}, line {number} labels node {columns[0].decode()}, which is no {target}")
        if not 0 <= label < classes:
            raise DataError(f"{where}, line {number} has class {label}, and info.dat names 0 to {classes - 1}")
        ids.append(row)
        labels.append(label)
    if len(set(ids)) < len(ids):
        raise DataError(f"{where} labels a node twice")
    return np.array([ids, labels], dtype=np.int64).reshape(2, -1)


def _whole(text: bytes, where: str, line: int) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{where}, line {line}: '{_shown(text)}' is no whole number") from error


def _numbers(text: bytes, where: str, line: int) -> NDArray[np.float32]:
    """Comma-separated numbers; those of one digit, as all are in sets of words, at a hundredth of the time."""
    data = np.frombuffer(text, dtype=np.uint8)
    digits = data[::2] - np.uint8(ord("0"))
    if len(data) % 2 and (data[1::2] == ord(",")).all() and (digits < 10).all():
        return digits.astype(np.float32)
    try:
        return np.array(text.split(b","), dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{where}, line {line} holds a feature that is no number ({error})") from error


def _shown(text: bytes, longest: int = 20) -> str:
    said = text[:longest].decode("utf-8", "replace")
    return said + "..." if len(text) > longest else said


def by_type(edges: Mapping[EdgeType, Rows], without: Sequence[str]) -> dict[EdgeType, Rows]:
    """The edges that touch no node of the types `without`."""
    return {key: rows for key, rows in edges.items() if not {key[0], key[2]} & set(without)}
