"""`medical/unet`: the U-Net of nnU-Net, by MONAI; one class for teachers and students, slices and volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic
from jaxtyping import Float
from monai.networks.nets import DynUNet
from pydantic import PositiveInt
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError

_DIMENSIONS = {"map": 2, "volume": 3}


class UNet(nn.Module):
    """Ronneberger et al. 2015 (arXiv 1505.04597) in the form of Isensee et al. 2021 (nnU-Net): strided convolutions,
    leaky ReLU, transposed convolutions. Widths double from level to level.

    `forward(image [B, C, *spatial])` gives logits `[B, K, *spatial]`; every spatial size must be a multiple of
    `2 ** (levels - 1)`. Bind `image` to one sequence or to a list of them. The tap `last` is the last feature map, of
    the input's size, from which one 1 x 1 convolution makes the logits; `deepest` is the one at the bottom.

    Arguments:
        width: channels of the first level.
        levels: resolutions, 3 or more.
        norm: normalisation of feature maps.
        dropout: probability.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        width: PositiveInt = 8,
        levels: Annotated[int, pydantic.Field(ge=3)] = 3,
        norm: Literal["batch", "instance"] = "batch",
        dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        field, classes = inputs["image"], outputs["logits"][0]
        if field.layout not in _DIMENSIONS or field.shape[0] is None or classes is None:
            raise ConfigError(f"medical/unet reads a map or a volume, not {field.layout or 'an undeclared layout'}")
        self.net = DynUNet(
            _DIMENSIONS[field.layout],
            field.shape[0],
            classes,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=[width * 2**level for level in range(levels)],
            norm_name=(norm, {"affine": True}),
            dropout=dropout or None,
        )
        self.taps = {"last": f"net.upsamples.{levels - 2}", "deepest": "net.bottleneck"}
        self.layouts = {"last": field.layout, "deepest": field.layout, "logits": field.layout}

    def forward(self, image: Float[Tensor, "B C *spatial"]) -> Float[Tensor, "B K *spatial"]:
        return self.net(image)
