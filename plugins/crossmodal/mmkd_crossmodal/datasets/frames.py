"""What the driving data sets share: frames of a camera and a LiDAR as fields, seen by one virtual camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkd.data import Dataset, Field
from mmkd.deployment.images import resized
from mmkd.errors import DataError
from mmkd_crossmodal.files.kitti import Frame

Array = NDArray[Any]

HEIGHT, WIDTH = 48, 192  # pixels of the virtual camera
CAMERA = np.array([[111.5, 0.0, 94.2, 6.69], [0.0, 111.5, 16.7, 0.0], [0.0, 0.0, 1.0, 0.0]], np.float32)
KITTI_FOCAL = 721.5  # pixels: the benchmark's limits on a box's height are at this focal length
MOST_BOXES = 12
REACH = 80.0  # metres
BOX = ("x", "y", "z", "height", "width", "length", "yaw")
DETAILS = ("occlusion", "truncation", "image height")


class Frames(Dataset):
    """Synchronised pairs of a picture and a scan, with boxes.

    Every picture is cut and resized so that it is one of the same virtual camera, whose projection is the constant
    `camera`: pictures of several calibrations then agree, and a network's output in pixels means one direction.

    - `image` `[3, H, W]`, uint8;
    - `depth` `[1, H, W]`: the scan as a dense depth image, metres, 0 where nothing came back;
    - `true_depth` `[1, H, W]`: of every pixel, where the frames have it (generated ones);
    - `camera` `[3, 4]`, a constant: projection of the rectified frame into `image`;
    - `boxes` `[M, 7]`, targets padded with zeros: x, y, z of the bottom's centre, height, width, length, yaw;
    - `present` `[M]`: which of them are real; `details` `[M, 3]`: level of occlusion, truncation, and height in the
      picture in pixels of KITTI's camera, which its levels of difficulty go by.

    Arguments:
        frames: in the order of rows.
        drives: which drive each belongs to: the independent unit.
        classes: classes that count as objects; others are background.
    """

    rows_at_once = 64

    def __init__(self, frames: Iterable[Frame], drives: Sequence[int], *, classes: tuple[str, ...] = ("Car",)) -> None:
        prepared = [_prepared(frame, classes) for frame in frames]
        if not prepared:
            raise DataError(f"data set {type(self).__name__} has no frame")
        sizes = {tuple(row.pop("recorded").tolist()) for row in prepared}
        names = set.intersection(*(set(row) for row in prepared))
        samples: dict[str, Tensor] = {
            name: torch.from_numpy(np.stack([row[name] for row in prepared])) for name in prepared[0] if name in names
        }
        size = sorted(sizes)[0]
        recorded = {"size": [round(number) for number in size[:2]], "box": list(size[2:])}
        fields = {
            "image": Field(
                (3, HEIGHT, WIDTH),
                "uint8",
                layout="map",
                range=(0, 255),
                channels=("red", "green", "blue"),
                preparation=recorded if len(sizes) == 1 else None,
            ),
            "depth": Field((1, HEIGHT, WIDTH), layout="map", unit="m", range=(0, REACH)),
            "true_depth": Field((1, HEIGHT, WIDTH), layout="map", unit="m", range=(0, 256)),
            "boxes": Field((MOST_BOXES, 7), target=True, unit="m, rad", channels=BOX, classes=classes),
            "present": Field((MOST_BOXES,), "bool", target=True),
            "details": Field((MOST_BOXES, 3), target=True, channels=DETAILS),
        }
        camera = Field((3, 4), layout="projection [H W]", kind="constant", unit="pixel")
        super().__init__(
            {**{name: field for name, field in fields.items() if name in samples}, "camera": camera},
            samples,
            constants={"camera": torch.from_numpy(CAMERA.copy())},
            groups=torch.as_tensor(drives, dtype=torch.int64),
            unit="drive",
        )


def source_box(p2: Array) -> list[float]:
    """Left, top, right and bottom, in pixels of a picture with projection `p2`, of what the virtual camera sees."""
    scale = p2[0, 0] / CAMERA[0, 0]
    left, top = p2[0, 2] - scale * CAMERA[0, 2], p2[1, 2] - scale * CAMERA[1, 2]
    return [left, top, left + scale * WIDTH, top + scale * HEIGHT]


def depth_image(pixels: Array, depth: Array) -> Array:
    """A scan as a dense image `[H, W]`: the nearest point of each pixel; one without takes its nearest neighbour's.

    Arguments:
        pixels: u and v in the virtual camera, `[N, 2]`.
        depth: metres, `[N]`; what is not in front of the camera is left out.
    """
    inside = (depth > 0) & (depth <= REACH) & (pixels >= 0).all(1) & (pixels < [WIDTH, HEIGHT]).all(1)
    column, row = pixels[inside].astype(int).T
    image = np.full((HEIGHT, WIDTH), np.inf, np.float32)
    np.minimum.at(image, (row, column), depth[inside].astype(np.float32))
    padded = np.pad(image, 1, constant_values=np.inf)
    around = [padded[r : r + HEIGHT, c : c + WIDTH] for r in range(3) for c in range(3)]
    image = np.where(np.isinf(image), np.minimum.reduce(around), image)
    return np.where(np.isinf(image), 0, image)


def _prepared(frame: Frame, classes: tuple[str, ...]) -> dict[str, Array]:
    """The fields of one frame, and its recorded size with the part that is seen of it."""
    box = source_box(frame.calibration.p2)
    scale = WIDTH / (box[2] - box[0])
    pixels, depth = frame.calibration.project(frame.calibration.to_camera(frame.points[:, :3].astype(np.float64)))
    row = {
        "recorded": np.round([frame.image.shape[1], frame.image.shape[0], *box], 3),
        "image": resized(frame.image, box, (HEIGHT, WIDTH)),
        "depth": depth_image((pixels - box[:2]) * scale, depth)[None],
        **_targets(frame, classes),
    }
    if frame.depth is not None:
        rows = (box[1] + (np.arange(HEIGHT) + 0.5) / scale).astype(int)
        columns = (box[0] + (np.arange(WIDTH) + 0.5) / scale).astype(int)
        row["true_depth"] = frame.depth[np.ix_(rows, columns)][None].astype(np.float32)
    return row


def _targets(frame: Frame, classes: tuple[str, ...]) -> dict[str, Array]:
    labels = frame.labels.of(classes)
    nearest = np.argsort(labels.boxes[:, 2], kind="stable")[:MOST_BOXES]
    height = (labels.image_box[:, 3] - labels.image_box[:, 1]) * KITTI_FOCAL / frame.calibration.p2[1, 1]
    boxes, details = np.zeros((MOST_BOXES, 7), np.float32), np.zeros((MOST_BOXES, 3), np.float32)
    boxes[: len(nearest)] = labels.boxes[nearest]
    details[: len(nearest)] = np.stack([labels.occlusion, labels.truncation, height], 1)[nearest]
    return {"boxes": boxes, "present": np.arange(MOST_BOXES) < len(nearest), "details": details}
