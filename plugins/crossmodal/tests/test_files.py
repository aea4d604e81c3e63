"""Files of UTD-MHAD and raw clips: both layouts read alike, and one line for whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mmkd.deployment.readers import read
from mmkd.errors import DataError
from mmkd_crossmodal.files.utd_mat import read_folder, read_inertial, read_skeleton
from mmkd_crossmodal.files.utd_packed import read_packed

FIELDS = {
    "imu": {
        **{"shape": [6, None], "dtype": "float32", "kind": "sample", "layout": "series", "axes": "B C T", "rate": 50.0},
        **{"range": [-1001.0, 1001.0], "channels": ["ax", "ay", "az", "gx", "gy", "gz"]},
    }
}
IDS = [(1, 1, 1), (1, 1, 2), (2, 1, 1), (10, 2, 1)]


def clip(number: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(number)
    imu = random.normal(0, 0.1, (20 + number, 6))
    imu[:, 0] -= 1
    return imu.astype(np.float32), random.normal(0, 1, (12 + number, 20, 3)).astype(np.float32)


def folder(place: Path) -> Path:
    """The published layout."""
    for name in ("Inertial", "Skeleton"):
        (place / name).mkdir(parents=True)
    for number, (action, subject, trial) in enumerate(IDS):
        imu, skeleton = clip(number)
        stem = f"a{action}_s{subject}_t{trial}"
        savemat(place / "Inertial" / f"{stem}_inertial.mat", {"d_iner": imu.astype(np.float64)})
        joints = skeleton.transpose(1, 2, 0).astype(np.float64)
        savemat(place / "Skeleton" / f"{stem}_skeleton.mat", {"d_skel": joints}, do_compression=True)
    return place


def packed(place: Path, **changed) -> tuple[Path, Path]:
    """The packed layout, in another order; `changed` replaces arrays of the inertial file."""
    order = [2, 0, 3, 1]
    files = []
    for name, which in (("inertial", 0), ("skeleton", 1)):
        clips = [clip(number)[which] for number in order]
        arrays = {"data": np.concatenate(clips), "length": np.array([len(part) for part in clips], np.int32)}
        arrays["action_subject_trial"] = np.array([IDS[number] for number in order], np.int16)
        arrays |= changed if name == "inertial" else {}
        files.append(place / f"{name}.npz")
        np.savez(files[-1], **{key: value for key, value in arrays.items() if value is not None})
    return files[0], files[1]


def refused(call, *arguments, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def test_both_layouts_give_the_same_clips(tmp_path):
    one, other = read_folder(folder(tmp_path / "mat")), read_packed(*packed(tmp_path))
    assert one.ids.tolist() == other.ids.tolist() == [list(clip_id) for clip_id in IDS]
    for number, clips in enumerate(zip(one.imus, other.imus, one.skeletons, other.skeletons, strict=True)):
        imu, skeleton = clip(number)
        for found, wanted in zip(clips, (imu, imu, skeleton, skeleton), strict=True):
            np.testing.assert_array_equal(found, wanted)


class TestPublishedLayout:
    def test_mispaired(self, tmp_path):
        place = folder(tmp_path)
        (place / "Skeleton" / "a2_s1_t1_skeleton.mat").unlink()
        refused(read_folder, place, match=r"a2_s1_t1_inertial.mat has no partner in .*Skeleton")
        (place / "Inertial" / "a2_s1_t1_inertial.mat").unlink()
        (place / "Inertial" / "a1_s1_t2_inertial.mat").unlink()
        refused(read_folder, place, match=r"a1_s1_t2_skeleton.mat has no partner in .*Inertial")

    def test_absent_empty_and_foreign(self, tmp_path):
        refused(read_folder, tmp_path, match="no folder .*Inertial")
        place = folder(tmp_path)
        (place / "Skeleton" / "notes.mat").write_bytes(b"")
        refused(read_folder, place, match=r"notes.mat is not named aX_sY_tZ_skeleton.mat")
        for path in (place / "Inertial").iterdir():
            path.unlink()
        refused(read_folder, place, match="Inertial holds no .mat file")

    @pytest.mark.parametrize("size", [0, 60, 128, 200, 700])
    def test_truncated(self, tmp_path, size):
        path = folder(tmp_path) / "Inertial" / "a1_s1_t1_inertial.mat"
        path.write_bytes(path.read_bytes()[:size])
        refused(read_inertial, path, match=r"a1_s1_t1_inertial.mat")

    @pytest.mark.parametrize(
        ("held", "complaint"),
        [
            ({"d_skel": np.ones((9, 6))}, "no variable d_iner.*it holds d_skel"),
            ({"d_iner": np.ones((9, 5))}, r"shape \[9, 5\] where \[T, 6\]"),
            ({"d_iner": np.ones((0, 6))}, "d_iner is empty|shape"),
            ({"d_iner": np.full((9, 6), np.nan)}, "NaN"),
            ({"d_iner": np.array([["a"] * 6] * 9, object)}, "not of numbers"),
        ],
    )
    def test_wrong_content(self, tmp_path, held, complaint):
        savemat(tmp_path / "clip.mat", held)
        refused(read_inertial, tmp_path / "clip.mat", match=complaint)

    def test_wrong_skeleton(self, tmp_path):
        savemat(tmp_path / "clip.mat", {"d_skel": np.ones((25, 3, 9))})
        refused(read_skeleton, tmp_path / "clip.mat", match=r"shape \[25, 3, 9\] where \[20, 3, T\]")


class TestPackedLayout:
    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"length": None}, "lacks the array length"),
            ({"data": np.ones((86, 5), np.float32)}, "another layout"),
            ({"data": np.ones((85, 6), np.float32)}, "lengths sum to 86, and it has 85 rows"),
            ({"data": np.full((86, 6), np.nan, np.float32)}, "NaN"),
            ({"data": np.ones((86, 6), np.int32)}, "types int32"),
            ({"action_subject_trial": np.array([IDS[n] for n in (0, 1, 2, 3)], np.int16)}, "in another order"),
            ({"action_subject_trial": np.array([IDS[n] for n in (0, 0, 2, 3)], np.int16)}, "a clip twice"),
            ({"data": np.array([{}], object)}, "cannot be read as npz"),
        ],
    )
    def test_wrong_content(self, tmp_path, changed, complaint):
        refused(read_packed, *packed(tmp_path, **changed), match=complaint)

    def test_different_clips(self, tmp_path):
        first = {"data": clip(0)[0], "length": np.array([20]), "action_subject_trial": np.array([IDS[0]])}
        refused(read_packed, *packed(tmp_path, **first), match="1 clips against 4")

    @pytest.mark.parametrize("share", [0, 0.5, 0.95])
    def test_truncated(self, tmp_path, share):
        inertial, skeleton = packed(tmp_path)
        inertial.write_bytes(inertial.read_bytes()[: int(share * inertial.stat().st_size)])
        refused(read_packed, inertial, skeleton, match=r"inertial.npz cannot be read")

    def test_absent(self, tmp_path):
        inertial, skeleton = packed(tmp_path)
        skeleton.unlink()
        refused(read_packed, inertial, skeleton, match=r"no file .*skeleton.npz")


class TestRawClips:
    def test_mat_and_csv_give_the_same(self, tmp_path):
        imu, _ = clip(0)
        savemat(tmp_path / "clip.mat", {"d_iner": imu.astype(np.float64)})
        lines = [",".join(["time", *FIELDS["imu"]["channels"]])]
        lines += [",".join(map(repr, [step / 50, *map(float, row)])) for step, row in enumerate(imu)]
        (tmp_path / "clip.csv").write_text("\n".join(lines))
        one, other = (read(tmp_path / f"clip.{kind}", FIELDS)["imu"] for kind in ("mat", "csv"))
        assert one.shape == (1, 6, 20)
        np.testing.assert_array_equal(one[0].T, imu)
        np.testing.assert_array_equal(one, other)

    def test_another_unit_of_acceleration(self, tmp_path):
        imu, _ = clip(0)
        imu[:, :3] *= 9.80665
        savemat(tmp_path / "clip.mat", {"d_iner": imu})
        refused(read, tmp_path / "clip.mat", FIELDS, match=r"median is 9.\d+ \(m/s2\?\) where about 1 g")

    def test_another_student(self, tmp_path):
        savemat(tmp_path / "clip.mat", {"d_iner": clip(0)[0]})
        fields = {"skeleton": {**FIELDS["imu"], "shape": [60, None]}}
        refused(read, tmp_path / "clip.mat", fields, match="the student reads skeleton")
