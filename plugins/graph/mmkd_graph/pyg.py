"""The layers of PyTorch Geometric that the typed models use; imported here alone, since it is slow and warns."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch_geometric.nn import HANConv, HGTConv

__all__ = ["HANConv", "HGTConv"]
