"""Pictures on file as inputs: PNG and JPEG, cut and resized as a field's preparation says.

A field of layout `map` and dtype `uint8` with 1 channel (grey) or 3 (red, green, blue) takes a picture. Its
`preparation` may hold `size`, the width and height of recorded pictures, and `box`, the left, top, right and bottom of
what is seen of them, in their pixels; that part is resized to the field's own height and width. A picture of another
size is taken where its shape is the same. Needs Pillow, and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError, MmkdError

_SAME_SHAPE = 0.01  # largest relative difference of two aspect ratios that are taken for one


def read_image(path: Path, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[np.uint8]]:
    """One picture as the only row of the student's only field, `[1, C, H, W]`.

    Raises:
        DataError: the student reads something else than one picture, or the file is none, or of another shape.
        MmkdError: Pillow is absent.
    """
    name, field = next(iter(fields.items()))
    shape = field["shape"]
    if len(fields) != 1 or field["dtype"] != "uint8" or len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError(f"{path} is a picture, and the student reads {', '.join(fields)}", "give it an .npz file")
    picture = open_image(path, "RGB" if shape[0] == 3 else "L")
    prepared = field.get("preparation") or {}
    height, width = picture.shape[:2]
    size = prepared.get("size", [shape[2], shape[1]])
    if abs(width / height / (size[0] / size[1]) - 1) > _SAME_SHAPE:
        raise DataError(
            f"{path} has {width} x {height} pixels where {size[0]} x {size[1]} are expected, or a multiple",
            "give a picture of the camera that the student was trained with",
        )
    box = np.array(prepared.get("box", [0, 0, *size])) * (width / size[0])
    return {name: resized(picture, box.tolist(), (shape[1], shape[2]))[None]}


def open_image(path: Path, mode: str = "RGB") -> NDArray[np.uint8]:
    """A picture as `[H, W, 3]` (mode `RGB`) or `[H, W]` (`L`). Raises `DataError` where the file is none."""
    image = _pillow()
    try:
        with image.open(path) as opened:
            return np.asarray(opened.convert(mode))
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {path}") from error
    except (image.UnidentifiedImageError, image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is no picture that can be read ({' '.join(str(error).split())})") from error


def resized(picture: NDArray[np.uint8], box: Sequence[float], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Part of a picture at another size, bilinear and antialiased; what lies outside of the picture is black.

    Arguments:
        picture: `[H, W, 3]` or `[H, W]`.
        box: left, top, right and bottom of the part, in pixels.
        size: height and width of the result.

    Returns:
        `[C, H, W]`.
    """
    left, top, right, bottom = box
    around = [max(0, int(np.ceil(-top))), max(0, int(np.ceil(bottom - picture.shape[0])))]
    beside = [max(0, int(np.ceil(-left))), max(0, int(np.ceil(right - picture.shape[1])))]
    padded = np.pad(picture, [around, beside] + [[0, 0]] * (picture.ndim - 2))
    image = _pillow()
    shifted = (left + beside[0], top + around[0], right + beside[0], bottom + around[0])
    part = image.fromarray(padded).resize((size[1], size[0]), image.Resampling.BILINEAR, box=shifted)
    values = np.asarray(part)
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MmkdError("Pillow is not installed", "pip install pillow") from error
    return Image
