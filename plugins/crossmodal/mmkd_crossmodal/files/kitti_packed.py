"""Packed KITTI frames: images of half the size as JPEG, scans as integers of centimetres; one drive, or single frames.

- `image_02` or `image_2`: `NAME.jpg`, half the recorded size: the calibration is scaled with it.
- `velodyne_q/NAME.npz`: `xyz_cm` int16 `[N, 3]` and `refl_u8` `[N]`.
- a drive has one `calib.txt` and the tracking benchmark's labels, single frames `calib/NAME.txt`, `label_2/NAME.txt`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmkd.deployment.images import open_image
from mmkd.errors import DataError
from mmkd_crossmodal.files import kitti
from mmkd_crossmodal.files.kitti import Array, Frame, Labels

IMAGE_SCALE = 0.5


def read_drive(folder: Path) -> list[Frame]:
    """Every frame of a packed drive, in order of time. Raises `DataError` naming the file at fault."""
    calibration = kitti.read_calibration(folder / "calib.txt").scaled(IMAGE_SCALE)
    tracking = sorted(folder.glob("tracking_label_02_*.txt"))
    if len(tracking) != 1:
        raise DataError(f"{folder} has {len(tracking)} files tracking_label_02_*.txt", "a drive has one")
    labels = kitti.read_tracking_labels(tracking[0])
    pictures = sorted((folder / "image_02").glob("*.jpg"))
    if not pictures:
        raise DataError(f"{folder / 'image_02'} has no image")
    return [_frame(folder, path, calibration, labels.get(int(path.stem), Labels())) for path in pictures]


def read_single(folder: Path, name: str) -> Frame:
    """One packed frame of the object benchmark. Raises `DataError` naming the file at fault."""
    calibration = kitti.read_calibration(folder / "calib" / f"{name}.txt").scaled(IMAGE_SCALE)
    labels = kitti.read_labels(folder / "label_2" / f"{name}.txt")
    return _frame(folder, folder / "image_2" / f"{name}.jpg", calibration, labels)


def read_points(path: Path) -> Array:
    """Points `[N, 4]` of a packed scan. Raises `DataError` naming the file where it is damaged, empty or of other
    arrays."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            held = {key: file[key] for key in ("xyz_cm", "refl_u8") if key in file.files}
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise some ten different ones
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path} cannot be read as npz ({reason})", "get it again from its source") from error
    if len(held) < 2 or held["xyz_cm"].shape != (*held["refl_u8"].shape, 3):
        raise DataError(f"{path} is of another layout", "a packed scan has xyz_cm [N, 3] and refl_u8 [N]")
    points = np.concatenate([held["xyz_cm"] / 100, held["refl_u8"][:, None] / 255], 1).astype(np.float32)
    return kitti.checked_points(path, points)


def _frame(folder: Path, picture: Path, calibration: kitti.Calibration, labels: Labels) -> Frame:
    image = open_image(picture)
    kitti.check_size(picture, image, calibration)
    scaled = Labels(labels.kind, labels.truncation, labels.occlusion, labels.image_box * IMAGE_SCALE, labels.boxes)
    return Frame(image, read_points(folder / "velodyne_q" / f"{picture.stem}.npz"), calibration, scaled)
