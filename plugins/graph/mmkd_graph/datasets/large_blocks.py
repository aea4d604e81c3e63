"""`graph/large-blocks`: a generated graph of the size of a product catalogue, memory-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from mmkd.data import Dataset, Field, Split
from mmkd.data.root import generated_root
from mmkd.files import lock, read_json, write_json
from mmkd_graph.blocks import SUMMED_AT_ONCE, sample_blocks, write_hops

CLASSES, FEATURES, HOPS = 47, 100, 2
LABELLED, VALID, TEST = 0.08, 10_000, 50_000  # labelled share as in ogbn-products; rows to select and to test on
CENTRE = 0.2  # standard deviation of a class's centre; a node's own features vary by 1 about it
FAITHFUL, SKEW = 0.5, 2.0


class LargeBlocks(Dataset):
    """A stochastic block model with the default size of ogbn-products, each node's hops summed once and kept on disk.

    Fields: `x` `[100]` the node's own features; `hops` `[3, 100]` x, P x and P^2 x, P the symmetric adjacency with
    self loops, which a teacher may read in place of the graph (`graph/sign-hops`); `label`. Nothing of it is read into
    memory before it is asked for. It is generated at first use, below `mmkd/generated` in the user's cache.

    Arguments:
        nodes: how many.
        degree: undirected edges drawn per node; 26 gives 62 million for 2.4 million nodes.
        world: seed of everything that is generated; the run's seed draws the split alone.
    """

    name = "graph/large-blocks"
    card = "large-blocks"
    rows_at_once = 1 << 15

    def __init__(
        self, *, nodes: PositiveInt = 2_400_000, degree: PositiveFloat = 26.0, world: NonNegativeInt = 0
    ) -> None:
        folder = generated_root() / f"large-blocks-{nodes}-{degree:g}-{world}"
        self.edges = generate(folder, nodes, degree, world)
        hops = torch.from_numpy(np.load(folder / "hops.npy", mmap_mode="c"))
        fields = {
            "x": Field((FEATURES,), layout="vector"),
            "hops": Field((HOPS + 1, FEATURES), layout="tokens"),
            "label": Field((), "int64", target=True, classes=tuple(map(str, range(CLASSES)))),
        }
        samples = {"x": hops[:, 0], "hops": hops, "label": torch.from_numpy(np.load(folder / "label.npy"))}
        super().__init__(fields, samples, unit="node", single_graph=True)

    def split(self, seed: int) -> Split:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        labelled = int(LABELLED * len(self))
        sizes = [labelled, min(VALID, len(self) // 20), min(TEST, len(self) // 10)]
        parts = [part.sort().values for part in order[: sum(sizes)].split(sizes)]
        seen = torch.cat([order[labelled:]]).sort().values
        return Split(parts[0], seen, parts[1], {"test": parts[2]}, setting="transductive")


def generate(folder: Path, nodes: int, degree: float, world: int) -> int:
    """Write `label.npy`, `hops.npy`, `start.npy` and `neighbour.npy`, unless they are there; the number of edges."""
    done = folder / "graph.json"
    if not done.exists():
        with lock(folder):
            random = np.random.default_rng(world)
            labels = random.integers(CLASSES, size=nodes)
            labels[:CLASSES] = np.arange(CLASSES)
            graph = sample_blocks(labels, int(degree * nodes), FAITHFUL, SKEW, random)
            centres = CENTRE * random.standard_normal((CLASSES, FEATURES), dtype=np.float32)
            shape = (nodes, HOPS + 1, FEATURES)
            hops = np.lib.format.open_memmap(folder / "hops.npy", "w+", np.float32, shape)
            for low in range(0, nodes, SUMMED_AT_ONCE):
                own = labels[low : low + SUMMED_AT_ONCE]
                hops[low : low + len(own), 0] = centres[own] + random.standard_normal((len(own), FEATURES), np.float32)
            write_hops(graph, hops)
            hops.flush()
            for name, values in (("label", labels), ("start", graph.start), ("neighbour", graph.neighbour)):
                np.save(folder / f"{name}.npy", values)
            write_json(done, {"nodes": nodes, "edges": len(graph.neighbour) // 2})
    return int(read_json(done)["edges"])
