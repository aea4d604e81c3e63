"""KITTI's files: left colour image, velodyne scan, calibration, labels; exact projection between their frames.

Frames of reference, as in Geiger et al. 2012: the velodyne's (x forward, y left, z up) and the rectified reference
camera's (x right, y down, z forward), in metres. Labels are given in the latter, by the centre of a box's bottom face.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.deployment.images import open_image
from mmkd.errors import DataError

Array = NDArray[Any]

CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Person", "Cyclist", "Tram", "Misc", "DontCare")
_MATRICES = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
_NAMES = {"R_rect": "R0_rect", "Tr_velo_cam": "Tr_velo_to_cam"}  # as the tracking benchmark calls them
_OFF_CENTRE = 0.1  # of the image's size: how far the principal point may lie from the middle


@dataclass(frozen=True)
class Calibration:
    """One frame's calibration.

    Arguments:
        p2: projection of the rectified reference frame into the left colour image, `[3, 4]`, pixels.
        rectification: reference camera to its rectified frame, `[3, 3]`.
        velo_to_cam: velodyne to reference camera, `[3, 4]`, metres.
    """

    p2: Array
    rectification: Array
    velo_to_cam: Array

    def to_camera(self, points: Array) -> Array:
        """Velodyne points `[N, 3]` in the rectified reference frame, `[N, 3]`."""
        return (points @ self.velo_to_cam[:, :3].T + self.velo_to_cam[:, 3]) @ self.rectification.T

    def to_velodyne(self, points: Array) -> Array:
        """The inverse of `to_camera`."""
        unrectified = points @ np.linalg.inv(self.rectification).T
        return (unrectified - self.velo_to_cam[:, 3]) @ np.linalg.inv(self.velo_to_cam[:, :3]).T

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels `[N, 2]` (u to the right, v down) and depths `[N]` of points in the rectified frame."""
        image = points @ self.p2[:, :3].T + self.p2[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            return image[:, :2] / image[:, 2:], image[:, 2]

    def scaled(self, factor: float) -> Calibration:
        """The calibration of the same image resized by `factor`."""
        p2 = self.p2 * np.array([[factor], [factor], [1.0]])
        return Calibration(p2, self.rectification, self.velo_to_cam)


@dataclass(frozen=True)
class Labels:
    """Objects of one frame, N rows each.

    Arguments:
        kind: class names.
        truncation: share outside the image, 0 to 1 (KITTI's tracking labels: 0, 1 or 2 in steps).
        occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown.
        image_box: left, top, right, bottom in pixels, `[N, 4]`.
        boxes: x, y, z of the bottom's centre, height, width, length (m) and yaw about y (rad), `[N, 7]`.
    """

    kind: tuple[str, ...] = ()
    truncation: Array = field(default_factory=lambda: np.zeros(0))
    occlusion: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    image_box: Array = field(default_factory=lambda: np.zeros((0, 4)))
    boxes: Array = field(default_factory=lambda: np.zeros((0, 7)))

    def of(self, kinds: tuple[str, ...]) -> Labels:
        """The objects of some classes."""
        rows = np.array([kind in kinds for kind in self.kind], bool)
        chosen = tuple(kind for kind in self.kind if kind in kinds)
        return Labels(chosen, self.truncation[rows], self.occlusion[rows], self.image_box[rows], self.boxes[rows])


@dataclass(frozen=True)
class Frame:
    """What was recorded at one instant.

    Arguments:
        image: `[H, W, 3]`, uint8.
        points: x, y, z in the velodyne's frame and reflectance, `[N, 4]`.
        calibration: of this frame.
        labels: its objects; none where it has no label file.
        depth: true depth of every pixel in metres, `[H, W]`, 0 where there is none; generated scenes alone have it.
    """

    image: Array
    points: Array
    calibration: Calibration
    labels: Labels = Labels()
    depth: Array | None = None


def check_size(path: Path, image: Array, calibration: Calibration) -> None:
    """Raise `DataError` where an image is not of the size that its calibration was made for."""
    height, width = image.shape[:2]
    centre = calibration.p2[:2, 2]
    if np.any(np.abs(centre - [width / 2, height / 2]) > _OFF_CENTRE * np.array([width, height])):
        raise DataError(
            f"{path} has {width} x {height} pixels, and P2 has its centre at {centre[0]:.0f}, {centre[1]:.0f}",
            "the image was resized or cropped: scale its calibration alike, or get the original",
        )


def read_velodyne(path: Path) -> Array:
    """Points `[N, 4]`: x, y, z in metres and reflectance, from 16 bytes each.

    Raises `DataError` naming the file where it is absent, truncated, empty, or holds NaN.
    """
    data = _bytes(path)
    if not data:
        raise DataError(f"{path} is empty: the scan has no point")
    if len(data) % 16:
        raise DataError(f"{path} is truncated: {len(data)} bytes are no whole number of points of 16", "copy it again")
    return checked_points(path, np.frombuffer(data, "<f4").reshape(-1, 4))


def checked_points(path: Path, points: Array) -> Array:
    """The points. Raises `DataError` where there is none, or one is not finite."""
    if not len(points):
        raise DataError(f"{path} holds no point")
    if wrong := int((~np.isfinite(points)).any(1).sum()):
        raise DataError(f"{path} holds NaN or infinite values in {wrong} of {len(points)} points")
    return points


def read_calibration(path: Path) -> Calibration:
    """Raises `DataError` naming file and key where a matrix is missing or is not one of numbers of its size."""
    found: dict[str, Array] = {}
    for line in _text(path).splitlines():
        name, _, rest = line.replace(":", " ", 1).strip().partition(" ")
        name = _NAMES.get(name, name)
        if name in _MATRICES:
            found[name] = _matrix(path, name, rest.split())
    for name in _MATRICES:
        if name not in found:
            raise DataError(f"{path} lacks the key {name}", f"a calibration file has {', '.join(_MATRICES)}")
    return Calibration(*(found[name] for name in _MATRICES))


def read_labels(path: Path) -> Labels:
    """Objects of one file of the object benchmark. Raises `DataError` naming the line and what is wrong in it."""
    return parse_labels(path, [(number, line.split()) for number, line in _lines(path)])


def read_tracking_labels(path: Path) -> dict[int, Labels]:
    """Objects by frame number of one file of the tracking benchmark, whose lines begin with frame and track."""
    frames: dict[int, list[tuple[int, list[str]]]] = {}
    for number, line in _lines(path):
        frame, _, *rest = line.split() if len(line.split()) > 2 else ("", "")
        if not frame.isdigit():
            raise DataError(f"{path}: line {number} does not begin with a frame number and a track")
        frames.setdefault(int(frame), []).append((number, rest))
    return {frame: parse_labels(path, lines) for frame, lines in frames.items()}


def parse_labels(path: Path, lines: list[tuple[int, list[str]]]) -> Labels:
    """Objects from numbered lines of 15 words (16 with a score)."""
    if not lines:
        return Labels()
    for number, words in lines:
        if len(words) not in (15, 16):
            raise DataError(f"{path}: line {number} has {len(words)} values of an object where 15 are expected")
        if words[0] not in CLASSES:
            raise DataError(f"{path}: line {number} has the unknown class '{words[0]}'", f"known: {', '.join(CLASSES)}")
    values = np.array([[_number(path, number, word) for word in words[1:15]] for number, words in lines])
    boxes = values[:, [10, 11, 12, 7, 8, 9, 13]]
    real = np.array([words[0] != "DontCare" for _, words in lines])
    if (flat := real & (boxes[:, 3:6] <= 0).any(1)).any():
        raise DataError(f"{path}: line {lines[int(flat.argmax())][0]} has a box without volume")
    kinds = tuple(words[0] for _, words in lines)
    return Labels(kinds, values[:, 0], values[:, 1].astype(np.int64), values[:, 3:7], boxes)


def write_frame(folder: Path, name: str, frame: Frame) -> None:
    """Write a frame as the object benchmark has it; true depth as KITTI's depth maps are: 16-bit PNG of 1/256 m."""
    from PIL import Image

    for part in ("image_2", "velodyne", "calib", "label_2"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.image).save(folder / "image_2" / f"{name}.png", compress_level=1)
    frame.points.astype("<f4").tofile(folder / "velodyne" / f"{name}.bin")
    matrices = zip(_MATRICES, vars(frame.calibration).values(), strict=True)
    lines = [f"{key}: " + " ".join(f"{value:.12e}" for value in matrix.flat) for key, matrix in matrices]
    (folder / "calib" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    (folder / "label_2" / f"{name}.txt").write_text("".join(_label_lines(frame.labels)), encoding="ascii")
    if frame.depth is not None:
        (folder / "depth_2").mkdir(exist_ok=True)
        stored = np.clip(np.round(frame.depth * 256), 0, 65535).astype(np.uint16)
        Image.fromarray(stored).save(folder / "depth_2" / f"{name}.png", compress_level=1)


def read_frame(folder: Path, name: str) -> Frame:
    """One frame of the object benchmark's folders. Raises `DataError` naming the file at fault."""
    calibration = read_calibration(folder / "calib" / f"{name}.txt")
    picture = folder / "image_2" / f"{name}.png"
    image = open_image(picture)
    check_size(picture, image, calibration)
    points = read_velodyne(folder / "velodyne" / f"{name}.bin")
    labels = folder / "label_2" / f"{name}.txt"
    depth = folder / "depth_2" / f"{name}.png"
    return Frame(
        image,
        points,
        calibration,
        read_labels(labels) if labels.is_file() else Labels(),
        _read_depth(depth) if depth.is_file() else None,
    )


def read_sequence(folder: Path, sequence: str) -> Iterator[Frame]:
    """Every frame of one sequence of the tracking benchmark, in order of time; scans that KITTI lacks are left out.

    Raises `DataError` naming the file at fault.
    """
    calibration = read_calibration(folder / "calib" / f"{sequence}.txt")
    labels = read_tracking_labels(folder / "label_02" / f"{sequence}.txt")
    pictures = sorted((folder / "image_02" / sequence).glob("*.png"))
    if not pictures:
        raise DataError(f"{folder / 'image_02' / sequence} has no image")
    for picture in pictures:
        scan = folder / "velodyne" / sequence / f"{picture.stem}.bin"
        if scan.is_file():
            image = open_image(picture)
            check_size(picture, image, calibration)
            yield Frame(image, read_velodyne(scan), calibration, labels.get(int(picture.stem), Labels()))


def _read_depth(path: Path) -> Array:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image, np.uint16).astype(np.float32) / 256


def _label_lines(labels: Labels) -> Iterator[str]:
    rows = zip(labels.kind, labels.truncation, labels.occlusion, labels.image_box, labels.boxes, strict=True)
    for kind, truncation, occlusion, image_box, (x, y, z, height, width, length, yaw) in rows:
        alpha = (yaw - np.arctan2(x, z) + np.pi) % (2 * np.pi) - np.pi
        numbers = [alpha, *image_box, height, width, length, x, y, z, yaw]
        yield f"{kind} {truncation:.2f} {occlusion:d} " + " ".join(f"{number:.4f}" for number in numbers) + "\n"


def _matrix(path: Path, name: str, words: list[str]) -> Array:
    shape = _MATRICES[name]
    try:
        matrix = np.array(words, float).reshape(shape)
    except ValueError as error:
        raise DataError(f"{path}: {name} is not {shape[0]} x {shape[1]} numbers") from error
    if not np.isfinite(matrix).all():
        raise DataError(f"{path}: {name} holds NaN or infinite values")
    return matrix


def _number(path: Path, line: int, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{path}: line {line}: {word!r} is no number")
    return value


def _lines(path: Path) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("ascii")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
