"""`crossmodal/centre-net`: 3D boxes from a picture, from a dense depth image, or from both."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd_crossmodal.boxes.coding import CHANNELS, STRIDE, TYPICAL_DEPTH, decode

ROLES = ("stride4", "stride8", "stride16", "neck")
RARE = -3.0  # first logit of a centre, so that the many cells without one weigh little at first


class CentreNet(nn.Module):
    """A small CenterNet for 3D boxes: down to stride 16, back up to stride 4, and one layer for all quantities.

    The same class serves every sensor whose values lie in the picture's plane; preprocessing is its own, so that an
    exported student takes bytes. Two more channels tell the direction of each pixel. Teacher and student are one
    network with other inputs, so that features correspond cell by cell (Chong et al. 2022, MonoDistill).

    Arguments:
        inputs: fields of `x` and perhaps `beside`: pictures (uint8) or depth images (metres).
        outputs: `boxes`, `[K, 8]`.
        width: channels at stride 2; more below.

    Attributes:
        taps: the maps at strides 4, 8 and 16, and `neck`, that of stride 4 which the boxes are read from.

    Inputs:
        x, beside: `[B, C, H, W]`, H and W multiples of 16.
        camera: projection into the picture, `[3, 4]`.

    Outputs: `boxes` `[B, K, 8]`, decoded, and the maps that they were read from (`mmkd_crossmodal.boxes.coding`).
    """

    def __init__(self, inputs: Mapping[str, Field], outputs: OutputSpec, /, *, width: int = 16) -> None:
        super().__init__()
        if set(outputs) != {"boxes"}:
            raise ConfigError(
                f"crossmodal/centre-net gives boxes, not {', '.join(outputs)}", 'use = "crossmodal/boxes"'
            )
        self.count = int(outputs["boxes"][0] or 0)
        shown = [inputs[name] for name in ("x", "beside") if name in inputs]
        self.encoders = nn.ModuleList(Depths() if field.unit == "m" else Pixels() for field in shown)
        channels = sum(2 if field.unit == "m" else int(field.shape[0] or 0) for field in shown) + 2
        self.taps = {role: role for role in ROLES}
        self.layouts = dict.fromkeys(ROLES, "map")
        self.stem = convolution(channels, width, 2)
        self.stride4 = nn.Sequential(convolution(width, 2 * width, 2), convolution(2 * width, 2 * width))
        self.stride8 = nn.Sequential(convolution(2 * width, 3 * width, 2), convolution(3 * width, 3 * width))
        self.stride16 = nn.Sequential(convolution(3 * width, 3 * width, 2), convolution(3 * width, 3 * width))
        self.beside8 = nn.Conv2d(3 * width, 2 * width, 1)
        self.beside16 = nn.Conv2d(3 * width, 2 * width, 1)
        self.neck = convolution(2 * width, 2 * width)
        self.first = convolution(2 * width, 2 * width)
        self.last = nn.Conv2d(2 * width + channels, sum(CHANNELS.values()), 1)
        assert self.last.bias is not None
        with torch.no_grad():
            start = dict(zip(CHANNELS, self.last.bias.split(list(CHANNELS.values())), strict=True))
            start["heat"].fill_(RARE)
            start["depth"].copy_(torch.tensor([log(TYPICAL_DEPTH), -1.0]))

    def forward(
        self,
        x: Shaped[Tensor, "B C H W"],
        camera: Float[Tensor, "3 4"],
        beside: Shaped[Tensor, "B D H W"] | None = None,
    ) -> dict[str, Tensor]:
        shown = [x] if beside is None else [x, beside]
        values = [encoder(value) for encoder, value in zip(self.encoders, shown, strict=True)]
        seen = torch.cat([*values, _directions(values[0], camera)], 1)
        fine = self.stride4(self.stem(seen))
        coarse = self.stride8(fine)
        coarser = self.stride16(coarse)
        summed = fine + _doubled(self.beside8(coarse) + _doubled(self.beside16(coarser)))
        features = self.neck(summed)
        # The input of each cell's middle goes straight to the last layer: a measured depth need not find its way there.
        middle = seen[:, :, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        said = self.last(torch.cat([self.first(features), middle], 1))
        maps = dict(zip(CHANNELS, said.split(list(CHANNELS.values()), 1), strict=True))
        return {"boxes": decode(maps, camera, self.count), **maps}


class Pixels(nn.Module):
    """Bytes to numbers around 0."""

    def forward(self, picture: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return (picture.float() - 127.5) / 64


class Depths(nn.Module):
    """Metres to the logarithm of depth around a typical one, and where there is any; 0 where there is none."""

    def forward(self, depth: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 2 H W"]:
        known = (depth > 0).to(depth.dtype)
        return torch.cat([2 * known * (depth.clamp(min=0.5) / TYPICAL_DEPTH).log(), known], 1)


def convolution(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def _doubled(values: Tensor) -> Tensor:
    return F.interpolate(values, scale_factor=2.0, mode="nearest")


def _directions(like: Tensor, camera: Tensor) -> Tensor:
    """Tangents of each pixel's direction to the right and downward, `[B, 2, H, W]`."""
    across = (torch.arange(like.shape[3], device=like.device) + 0.5 - camera[0, 2]) / camera[0, 0]
    down = (torch.arange(like.shape[2], device=like.device) + 0.5 - camera[1, 2]) / camera[1, 1]
    both = [across.expand(like.shape[2], -1), down[:, None].expand(-1, like.shape[3])]
    return torch.stack(both).to(like.dtype).expand(like.shape[0], -1, -1, -1)
