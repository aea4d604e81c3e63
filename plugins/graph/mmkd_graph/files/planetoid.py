"""The raw `ind.*` files of Planetoid (Yang et al. 2016), read without loading a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from mmkd.errors import DataError
from mmkd_graph.files.arrays import UnreadablePickleError, read_arrays
from mmkd_graph.graph import Graph
from mmkd_graph.splits import Rows

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
VALID = 500


def read_planetoid(files: Mapping[str, Path]) -> tuple[Graph, tuple[Rows, Rows, Rows]]:
    """The graph and its public split.

    `allx` and `ally` hold the first nodes, `tx` and `ty` the test nodes in the order of `test.index`, `graph` the
    neighbours of each node. CiteSeer's `graph` names 15 nodes that the others lack: their features are 0 and their
    label is -1, no class. The public split trains on the first nodes (as many as `y` has), selects on the next 500
    and tests on `test.index`.

    Arguments:
        files: where each of `PARTS` is.

    Returns:
        The graph as it is on file, and the ids to train, select and test on (these rising).

    Raises:
        DataError: a file is damaged, is not what it should be, or the files contradict each other.
    """
    read = {part: _values(files[part]) for part in PARTS if part != "test.index"}
    folder = files["graph"].parent
    try:
        return _assemble(read, _index(files["test.index"]))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"the files ind.* in {folder} contradict each other ({error})") from error


def _assemble(read: Mapping[str, Any], test: Rows) -> tuple[Graph, tuple[Rows, Rows, Rows]]:
    first = read["allx"].shape[0]
    listed = np.append(np.arange(first), test)  # node id of each stacked row
    source = np.repeat(list(read["graph"]), [len(near) for near in read["graph"].values()])
    target = np.concatenate([np.asarray(near, np.int64) for near in read["graph"].values()])
    rows = len(read["graph"])
    if len(np.unique(listed)) < len(listed):
        raise ValueError("test.index does not continue allx")
    if max(listed.max(), source.max(), target.max()) >= rows:
        raise ValueError(f"graph names {rows} nodes, and there are more")
    features = np.zeros((rows, read["allx"].shape[1]), np.float32)
    features[listed] = sparse.vstack([read["allx"], read["tx"]]).toarray()
    one_hot = np.concatenate([read["ally"], read["ty"]])
    if not (one_hot.sum(1) == 1).all():
        raise ValueError("a node does not have exactly one class")
    labels = np.full(rows, -1, np.int64)
    labels[listed] = one_hot.argmax(1)
    adjacency = sparse.csr_array((np.ones(len(source), np.float32), (source, target)), shape=(rows, rows))
    graph = Graph(features, adjacency, labels, tuple(map(str, range(one_hot.shape[1]))))
    labelled = len(read["y"])
    return graph, (np.arange(labelled), np.arange(labelled, labelled + VALID), np.sort(test))


def _values(path: Path) -> Any:
    try:
        return read_arrays(path.read_bytes())
    except (OSError, UnreadablePickleError) as error:
        way_out = "get it again from its source"
        raise DataError(f"{path} cannot be read as a Planetoid file: {error}", way_out) from error


def _index(path: Path) -> Rows:
    try:
        return np.asarray([int(line) for line in path.read_text().split()], np.int64)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of node ids: {error}") from error
