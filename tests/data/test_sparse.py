"""Relations held as sparse matrices are checked and hashed by what they hold."""

import pytest
import torch

from mmkd.data import Dataset, Field
from mmkd.errors import DataError


def graph(value: float, layout: torch.layout) -> Dataset:
    adjacency = torch.eye(4)
    adjacency[0, 2] = value
    fields = {"x": Field((2,)), "adjacency": Field((4, 4), kind="relation")}
    sparse = adjacency.to_sparse_coo() if layout == torch.sparse_coo else adjacency.to_sparse_csr()
    return Dataset(fields, {"x": torch.ones(4, 2)}, relations={"adjacency": sparse})


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_relations(layout: torch.layout) -> None:
    assert graph(2.0, layout).content_hash() == graph(2.0, layout).content_hash() != graph(3.0, layout).content_hash()
    with pytest.raises(DataError, match="'adjacency' holds NaN"):
        graph(float("nan"), layout)
