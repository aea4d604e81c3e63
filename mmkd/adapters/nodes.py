"""Nodes to nodes, and nodes as the rows of a vector feature: a batch of nodes and a batch of samples look alike."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mmkd.adapters.base import Adapter
from mmkd.adapters.linear import Linear
from mmkd.layouts import NODES, VECTOR, Spec


class Nodes(Linear):
    """The same linear map for every node.

    Arguments:
        bias: whether it has a bias.
    """

    source = target = NODES


class NodesToVector(Adapter):
    """The same tensor by another name, for a node model that meets one of single samples."""

    source = NODES
    target = VECTOR

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        return Spec(cls.target, student.shape)

    def forward(self, feature: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return feature


class VectorToNodes(NodesToVector):
    """The same tensor by another name: a row of the batch is a node."""

    source = VECTOR
    target = NODES
