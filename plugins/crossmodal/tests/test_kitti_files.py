"""KITTI's files: exact projection, round trips, and one clear line for whatever is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmkd.data.root import find
from mmkd.errors import DataError
from mmkd_crossmodal.files import kitti
from mmkd_crossmodal.files.kitti import Calibration, Frame, Labels
from mmkd_crossmodal.files.kitti_packed import read_drive, read_points, read_single

P2 = np.array([[100.0, 0, 50, 6], [0, 100, 20, 0], [0, 0, 1, 0]])
VELO_TO_CAM = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]])
CALIBRATION = Calibration(P2, np.eye(3), VELO_TO_CAM)


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    boxes = np.array([[1.0, 1.6, 12, 1.5, 1.6, 3.9, 0.4], [-4, 1.7, 30, 1.4, 1.7, 4.2, -1.5]])
    image_box = np.array([[40.0, 10, 60, 30], [20, 12, 35, 22]])
    labels = Labels(("Car", "Van"), np.array([0.0, 0.25]), np.array([0, 2]), image_box, boxes)
    image = random.integers(0, 256, (40, 100, 3), dtype=np.uint8)
    points = random.normal(0, 10, (50, 4)).astype(np.float32)
    depth = np.round(random.uniform(0, 80, (40, 100)) * 256) / 256
    kitti.write_frame(tmp_path, "000000", Frame(image, points, CALIBRATION, labels, depth))
    return tmp_path


def test_frames_survive_their_files(folder):
    frame = kitti.read_frame(folder, "000000")
    kitti.write_frame(folder, "000001", frame)
    again = kitti.read_frame(folder, "000001")
    for part in ("image", "points", "depth"):
        np.testing.assert_array_equal(getattr(frame, part), getattr(again, part))
    np.testing.assert_array_equal(frame.calibration.p2, P2)
    assert frame.labels.kind == ("Car", "Van")
    np.testing.assert_allclose(frame.labels.boxes, again.labels.boxes)
    np.testing.assert_allclose(frame.labels.boxes[1], [-4, 1.7, 30, 1.4, 1.7, 4.2, -1.5])
    assert frame.labels.of(("Van",)).boxes.shape == (1, 7)


def test_projection_by_hand():
    """A point 10 m ahead of the unit, 1 m to its left and 0.5 m above it."""
    point = CALIBRATION.to_camera(np.array([[10.0, 1.0, 0.5]]))
    np.testing.assert_allclose(point, [[-1.0, -0.58, 9.73]])
    pixel, depth = CALIBRATION.project(point)
    np.testing.assert_allclose(pixel, [[(100 * -1 + 50 * 9.73 + 6) / 9.73, (100 * -0.58 + 20 * 9.73) / 9.73]])
    np.testing.assert_allclose(depth, [9.73])
    np.testing.assert_allclose(CALIBRATION.to_velodyne(point), [[10.0, 1.0, 0.5]])
    half, _ = CALIBRATION.scaled(0.5).project(point)
    np.testing.assert_allclose(half, pixel / 2)


def spoil(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


NAN = np.array([[1, 2, 3, 0.5], [np.nan, 0, 0, 0]], "<f4").tobytes()
SPOILT = {
    "velodyne/000000.bin": [
        (b"\0" * 36, "truncated: 36 bytes"),
        (b"", "is empty"),
        (NAN, "NaN or infinite values in 1 of 2 points"),
    ],
    "calib/000000.txt": [
        ("P2: " + "1 " * 12 + "\nR0_rect: " + "1 " * 9, "lacks the key Tr_velo_to_cam"),
        ("P2: 1 2 3", "P2 is not 3 x 4 numbers"),
        ("P2: " + "1 " * 11 + "x", "P2 is not 3 x 4 numbers"),
        ("P2: " + "1 " * 11 + "nan", "P2 holds NaN"),
        (b"\xff\xfe", "no text file"),
    ],
    "label_2/000000.txt": [
        ("Lorry 0 0 0 1 2 3 4 1 1 1 0 0 9 0\n", "line 1 has the unknown class 'Lorry'"),
        ("\nCar 0 0 0 1 2 3 4\n", "line 2 has 8 values"),
        ("Car 0 0 0 1 2 3 4 1 1 one 0 0 9 0\n", "line 1: 'one' is no number"),
        ("Car 0 0 0 1 2 3 4 1 0 1 0 0 9 0\n", "box without volume"),
    ],
    "image_2/000000.png": [(b"no image", "no picture that can be read")],
}


@pytest.mark.parametrize(
    ("name", "content", "said"), [(name, *case) for name, cases in SPOILT.items() for case in cases]
)
def test_what_is_wrong_is_said_in_one_line(folder, name, content, said):
    spoil(folder / name, content)
    with pytest.raises(DataError, match=said) as raised:
        kitti.read_frame(folder, "000000")
    assert str(folder / name) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_image_of_another_size_is_refused(folder):
    path = folder / "image_2" / "000000.png"
    Image.new("RGB", (50, 20)).save(path)
    with pytest.raises(DataError, match="has 50 x 20 pixels, and P2 has its centre at 50, 20"):
        kitti.read_frame(folder, "000000")


def test_absent_files_are_named(folder):
    (folder / "velodyne" / "000000.bin").unlink()
    with pytest.raises(DataError, match=r"000000\.bin cannot be read"):
        kitti.read_frame(folder, "000000")


def test_tracking_layout(folder, tmp_path):
    """A sequence as the tracking benchmark has it: one calibration, labels that begin with frame and track."""
    place = tmp_path / "tracking"
    for part in ("image_02/0000", "velodyne/0000", "calib", "label_02"):
        (place / part).mkdir(parents=True)
    calibration = (folder / "calib" / "000000.txt").read_text()
    renamed = calibration.replace("R0_rect:", "R_rect").replace("Tr_velo_to_cam:", "Tr_velo_cam")
    (place / "calib" / "0000.txt").write_text(renamed)
    line = (folder / "label_2" / "000000.txt").read_text().splitlines()[0]
    (place / "label_02" / "0000.txt").write_text(f"1 7 {line}\n1 -1 {line.replace('Car', 'DontCare')}\n")
    for number in range(3):
        Image.open(folder / "image_2" / "000000.png").save(place / "image_02" / "0000" / f"{number:06d}.png")
    for number in (0, 1):  # KITTI lacks some scans
        (place / "velodyne" / "0000" / f"{number:06d}.bin").write_bytes(b"\0\0\x80\x3f" * 8)
    frames = list(kitti.read_sequence(place, "0000"))
    assert [frame.labels.kind for frame in frames] == [(), ("Car", "DontCare")]
    np.testing.assert_array_equal(frames[0].calibration.velo_to_cam, VELO_TO_CAM)
    spoil(place / "label_02" / "0000.txt", "Car 0 0 0\n")
    with pytest.raises(DataError, match="line 1 does not begin with a frame number"):
        list(kitti.read_sequence(place, "0000"))


def test_packed_scans(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez(path, xyz_cm=np.array([[100, -250, 30]], np.int16), refl_u8=np.array([51], np.uint8))
    np.testing.assert_allclose(read_points(path), [[1.0, -2.5, 0.3, 0.2]], atol=1e-6)
    np.savez(path, xyz_cm=np.zeros((0, 3), np.int16), refl_u8=np.zeros(0, np.uint8))
    with pytest.raises(DataError, match="holds no point"):
        read_points(path)
    path.write_bytes(b"PK\3\4 damaged")
    with pytest.raises(DataError, match="cannot be read as npz"):
        read_points(path)
    np.savez(path, points=np.zeros((3, 3)))
    with pytest.raises(DataError, match="xyz_cm"):
        read_points(path)


real = pytest.mark.skipif(find("kitti_frames") is None, reason="MMKD_DATA has no kitti_frames")


@real
def test_points_of_real_frames_lie_in_their_boxes():
    """26 of 27 labelled objects of five scenes hold at least five points: calibration and projection are right."""
    counts = [
        count
        for name in ("000000", "000001", "000002", "000008", "000134")
        for count in points_in_boxes(read_single(find("kitti_frames"), name))
    ]
    assert len(counts) == 27
    assert sum(count >= 5 for count in counts) >= 26


@pytest.mark.skipif(find("kitti_drive0005") is None, reason="MMKD_DATA has no kitti_drive0005")
def test_a_real_drive():
    frames = read_drive(find("kitti_drive0005"))
    assert len(frames) == 154
    kinds = [kind for frame in frames for kind in frame.labels.kind]
    assert (kinds.count("Car"), kinds.count("Van"), kinds.count("DontCare")) == (243, 292, 378)
    counts = [count for frame in frames[::5] for count in points_in_boxes(frame)]
    assert np.mean(np.array(counts) >= 8) > 0.98


def points_in_boxes(frame):
    """Points of the scan in each labelled box."""
    labels = frame.labels.of(tuple(kind for kind in kitti.CLASSES if kind != "DontCare"))
    points = frame.calibration.to_camera(frame.points[:, :3].astype(float))
    counts = []
    for x, y, z, height, width, length, yaw in labels.boxes:
        apart = points - [x, y, z]
        along = apart[:, 0] * np.cos(yaw) - apart[:, 2] * np.sin(yaw)
        across = apart[:, 0] * np.sin(yaw) + apart[:, 2] * np.cos(yaw)
        inside = (np.abs(along) < length / 2) & (np.abs(across) < width / 2) & (apart[:, 1] < 0)
        counts.append(int((inside & (apart[:, 1] > -height)).sum()))
    return counts
