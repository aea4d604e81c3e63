"""Maps: resized and projected, pooled to a vector, cut into tokens. Also the resampling that all adapters share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.adapters.base import Adapter
from mmkd.errors import LayoutError
from mmkd.layouts import MAP, TOKENS, VECTOR, Spec

_ASPECT_TOLERANCE = 1.1
"""Sides that strides rounded up may differ so much in ratio; a class token changes the ratio more."""


def resize(feature: Float[Tensor, "B C *sizes"], sizes: Sequence[int]) -> Float[Tensor, "B C *new_sizes"]:
    """Resample one to three spatial axes linearly, pixel centres aligned.

    An axis that shrinks is low-pass filtered (antialiased): plain linear interpolation by a factor of four would ignore
    half of the positions. Half precision is computed, and returned, in float32.

    Raises:
        ValueError: the number of sizes is not that of the spatial axes, or not 1, 2 or 3.
    """
    if feature.dim() - 2 != len(sizes) or not 1 <= len(sizes) <= 3:
        raise ValueError(f"cannot resize a feature of shape {tuple(feature.shape)} to {tuple(sizes)}")
    if tuple(feature.shape[2:]) == tuple(sizes):
        return feature
    if feature.dtype not in (torch.float32, torch.float64):
        feature = feature.float()
    if len(sizes) == 1:
        return _bilinear(feature.unsqueeze(2), (1, sizes[0])).squeeze(2)
    if len(sizes) == 2:
        return _bilinear(feature, sizes)
    # Axis by axis gives the trilinear result; PyTorch's own trilinear resampling has no antialiasing.
    depth, rows = feature.shape[2], math.prod(sizes[1:])
    planes = _bilinear(feature.flatten(1, 2), sizes[1:]).unflatten(1, (-1, depth))
    return _bilinear(planes.flatten(3), (sizes[0], rows)).unflatten(3, tuple(sizes[1:]))


def _bilinear(feature: Tensor, sizes: Sequence[int]) -> Tensor:
    return F.interpolate(feature, tuple(sizes), mode="bilinear", align_corners=False, antialias=True)


def scaled(size: int, student: int, teacher: int) -> int:
    """`size` times the ratio of the measured sizes, rounded: exactly `teacher` where `size` is the student's."""
    return max(1, (size * teacher + student // 2) // student)


def project_and_resize(
    project: Callable[[Tensor], Tensor],
    feature: Float[Tensor, "B C *sizes"],
    student: Sequence[int],
    teacher: Sequence[int],
) -> Float[Tensor, "B K *new_sizes"]:
    """Project the channels and resample the spatial axes by the ratio of the measured sizes.

    The two commute, since resampling weights add up to 1; the projection runs where there are fewer positions.
    """
    sizes = [scaled(*axis) for axis in zip(feature.shape[2:], student, teacher, strict=True)]
    if math.prod(sizes) < math.prod(feature.shape[2:]):
        return project(resize(feature, sizes))
    return resize(project(feature), sizes)


class Map(Adapter):
    """1x1 convolution and bilinear resizing: the regressor of FitNets for maps of different sizes.

    Source: Romero et al. 2015, arXiv 1412.6550, section 2.2. Their convolution is so large that the sizes agree; here
    the resizing has no parameters.

    Arguments:
        bias: whether the convolution has a bias.
    """

    source = target = MAP

    def __init__(self, student: Spec, teacher: Spec, /, *, bias: bool = True) -> None:
        super().__init__(student, teacher)
        self.project = nn.Conv2d(student.channels, teacher.channels, 1, bias=bias)
        self.sizes = student.shape[1:], teacher.shape[1:]

    def forward(self, feature: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        return project_and_resize(self.project, feature, *self.sizes)


class MapToVector(Adapter):
    """Global average pooling."""

    source = MAP
    target = VECTOR

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        return Spec(cls.target, (student.channels,))

    def forward(self, feature: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C"]:
        return feature.mean((2, 3))


class MapToTokens(Adapter):
    """One token per position, row after row.

    Where the teacher has another number of tokens, the map is first resized to their grid: interpolating a flattened
    map would mix the end of a row with the start of the next.

    Raises:
        LayoutError: the teacher's tokens form no grid with about the aspect ratio of the student's map.
    """

    source = MAP
    target = TOKENS

    def __init__(self, student: Spec, teacher: Spec, /) -> None:
        super().__init__(student, teacher)
        self.sizes = student.shape[1:], _grid(student, teacher)

    @classmethod
    def output_spec(cls, student: Spec, teacher: Spec) -> Spec:
        return Spec(cls.target, (math.prod(_grid(student, teacher)), student.channels))

    def forward(self, feature: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T C"]:
        return project_and_resize(nn.Identity(), feature, *self.sizes).flatten(2).mT


def _grid(student: Spec, teacher: Spec) -> tuple[int, int]:
    """Height and width of the teacher's grid of tokens; the student's own where the teacher has none."""
    height, width = student.shape[1:]
    if teacher.layout != TOKENS or teacher.shape[0] == height * width:
        return height, width
    count = teacher.shape[0]
    ratios = {
        rows: rows * rows * width / (count * height)  # aspect of (rows, count / rows) over that of the map
        for rows in range(1, count + 1)
        if count % rows == 0
    }
    rows = min(ratios, key=lambda rows: abs(math.log(ratios[rows])))
    if not 1 / _ASPECT_TOLERANCE <= ratios[rows] <= _ASPECT_TOLERANCE:
        raise LayoutError(
            f"the teacher's {count} tokens form no grid with the aspect of the student's {height}x{width} map",
            "tap the teacher's patch tokens without a class token, or another place",
        )
    return rows, count // rows
