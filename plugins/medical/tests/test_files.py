"""Folders of scans and packed slices: what is written is read, and whatever is wrong is said in one line."""

import gzip
import shutil

import nibabel
import numpy as np
import pytest

from mmkd.errors import DataError
from mmkd_medical.datasets.brats import BRATS
from mmkd_medical.datasets.phantom import AFFINE, PREPARATION, Phantom
from mmkd_medical.files.folders import Naming, read_patients
from mmkd_medical.files.nifti import NIFTI, to_bytes
from mmkd_medical.files.packed import read_packed


def read(folder, naming=BRATS):
    return list(read_patients(folder, naming, PREPARATION))


def change(file, function=lambda values: values, affine=AFFINE):
    """Rewrite a scan with other values or another affine."""
    values = np.asarray(nibabel.load(file).dataobj)
    file.write_bytes(to_bytes(np.ascontiguousarray(function(values.copy())), affine))


class TestFolders:
    def test_the_same_patients_as_in_memory(self, written):
        phantom = Phantom(labelled=1, unlabelled=1, valid=1, test=2)
        patients = read(written)
        assert [patient.name for patient in patients] == [f"patient_{number:03d}" for number in range(5)]
        for number, patient in enumerate(patients):
            rows = phantom.read((phantom.groups == number).nonzero()[:, 0])
            shown = (patient.sequences["t1ce"] != 0).any((1, 2))
            np.testing.assert_array_equal(patient.label[shown], rows["label"].numpy())
            for name, slices in patient.sequences.items():
                np.testing.assert_allclose(slices[shown], rows[name][:, 0].numpy(), atol=1e-6)

    def test_other_names_and_values(self, folder):
        for file in folder.rglob("*_t1ce.nii.gz"):
            file.rename(file.with_name("T1c.nii.gz"))
        naming = Naming({"t1ce": "T1c.nii.gz"}, "*_seg.nii.gz", {"core": [1, 4], "oedema": [2]})
        patient = read(folder, naming)[0]
        assert list(patient.sequences) == ["t1ce"]
        assert set(np.unique(patient.label)) == {0, 1, 2}

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda f: f["t1"].unlink(), ["patient_000", "no file *_t1.nii.gz"]),
            (lambda f: f["t1"].write_bytes(f["t1"].read_bytes()[:9000]), ["_t1.nii.gz cannot be read"]),
            (lambda f: f["t1"].write_bytes(b"not a scan"), ["_t1.nii.gz cannot be read"]),
            (lambda f: f["t2"].write_bytes(gzip.compress(b"\0" * 400)), ["_t2.nii.gz cannot be read"]),
            (lambda f: change(f["t1"], lambda x: np.where(x == x.max(), np.nan, x)), ["_t1.nii.gz", "NaN", "voxel"]),
            (lambda f: change(f["t1"], lambda x: x[:-1]), ["_t1.nii.gz has shape [47, 48, 12]", "[48, 48, 12]"]),
            (lambda f: change(f["t1"], lambda x: x[..., None] * [1, 2]), ["_t1.nii.gz", "one volume"]),
            (
                lambda f: change(f["t1"], affine=np.diag([4, 4, 4, 1.0])),
                ["_t1.nii.gz has voxels of 4 x 4 x 4 mm", "flair", "4 x 4 x 8 mm"],
            ),
            (
                lambda f: change(f["t1"], affine=np.diag([-4, 4, 8, 1.0])),
                ["_t1.nii.gz has orientation LAS", "flair", "RAS"],
            ),
            (
                lambda f: change(f["t1"], affine=AFFINE + _moved(5.0)),
                ["_t1.nii.gz has affine"],
            ),
            (lambda f: [change(x, affine=np.diag([1, 1, 1, 1.0])) for x in f.values()], ["1 x 1 x 1 mm where 4 x 4"]),
            (
                lambda f: change(f["seg"], lambda x: np.where(x == 4, 3, x)),
                ["_seg.nii.gz holds the label 3", "0, 1, 2, 4"],
            ),
            (lambda f: change(f["seg"], lambda x: x + 0.5), ["_seg.nii.gz holds the label 0.5"]),
            (lambda f: change(f["seg"], lambda x: np.roll(x, 24, 0)), ["_seg.nii.gz marks", "outside the tissue"]),
            (lambda f: change(f["t2"], lambda x: 0 * x + 3), ["_t2.nii.gz has one value everywhere"]),
            (
                lambda f: f["t1"].rename(f["t1"].with_name("patient_001_t1.nii.gz")),
                ["patient_001_t1.nii.gz is of patient 'patient_001'", "'patient_000'"],
            ),
            (
                lambda f: shutil.copy(str(f["t1"]).replace("_000", "_001"), f["t1"]),
                ["patient_001_t1.nii.gz holds the same scan as", "patient_000_t1.nii.gz"],
            ),
            (lambda f: shutil.copy(f["t1"], f["t1"].with_name("x_t1.nii.gz")), ["both are like *_t1.nii.gz"]),
        ],
    )
    def test_bad_input(self, folder, damage, words):
        names = ("flair", "t1", "t1ce", "t2", "seg")
        damage({name: folder / "patient_000" / f"patient_000_{name}.nii.gz" for name in names})
        with pytest.raises(DataError) as caught:
            read(folder)
        for word in words:
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_patients(self, tmp_path):
        with pytest.raises(DataError, match="holds no file like"):
            read(tmp_path)
        with pytest.raises(DataError, match="absent"):
            read(tmp_path / "nowhere")


FIELDS = {"t1ce": {"shape": [1, None, None], "kind": "sample", "preparation": PREPARATION.manifest()}}


def _moved(distance):
    shift = np.zeros((4, 4))
    shift[0, 3] = distance
    return shift


class TestPacked:
    def test_reads(self, packed):
        patients = list(read_packed(packed()))
        assert [patient.name for patient in patients] == ["a", "b"]
        with np.load(packed()) as stored:
            tissue = stored["a_x"][:, 2] > 0
            np.testing.assert_array_equal(patients[0].label, np.array([0, 1, 2, 3])[stored["a_y"]])
        slices = patients[0].sequences["t1ce"]
        np.testing.assert_allclose([slices[tissue].mean(), slices[tissue].std()], [0, 1], atol=1e-5)
        assert (slices[~tissue] == 0).all()

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"a_y": None}, "has no 'a_y'"),
            ({"a_x": np.ones((3, 3, 8, 8), np.uint8)}, "patient a: _x has shape [3, 3, 8, 8]"),
            ({"a_y": np.zeros((2, 8, 8), np.uint8)}, "patient a: _y has shape [2, 8, 8]"),
            ({"a_y": np.full((3, 8, 8), 4, np.uint8)}, "patient a: _y holds the label 4"),
            ({"a_z": np.array([2, 2, 3])}, "do not rise"),
            ({"a_x": np.ones((3, 4, 8, 8), np.float32)}, "of type float32"),
            ({"a_x": np.full((3, 4, 8, 8), 9, np.uint8)}, "patient a: the scan has one value everywhere"),
            ({"a_x": np.array([None])}, "cannot be read"),
        ],
    )
    def test_bad_input(self, packed, changed, words):
        with pytest.raises(DataError) as caught:
            list(read_packed(packed(**changed)))
        assert words in str(caught.value)
        assert "slices.npz" in str(caught.value)

    def test_one_patient_twice(self, packed):
        with np.load(packed()) as stored:
            same = stored["a_x"]
        with pytest.raises(DataError, match="patient b holds the same slices as a"):
            list(read_packed(packed(b_x=same)))

    def test_truncated(self, packed):
        file = packed()
        file.write_bytes(file.read_bytes()[:300])
        with pytest.raises(DataError, match=r"slices\.npz cannot be read"):
            list(read_packed(file))


class TestReader:
    def test_reads_what_training_read(self, written):
        file = written / "patient_003" / "patient_003_t1ce.nii.gz"
        read_alone = NIFTI.read(file, FIELDS)["t1ce"]
        np.testing.assert_array_equal(read_alone[:, 0], read(written)[3].sequences["t1ce"])

    def test_writes_on_the_same_grid(self, written, tmp_path):
        file = written / "patient_000" / "patient_000_seg.nii.gz"
        other = nibabel.Nifti1Image(np.asarray(nibabel.load(file).dataobj), AFFINE @ np.diag([-1, 1, 1, 1.0]))
        other.header.set_xyzt_units("mm", "sec")
        nibabel.save(other, tmp_path / "scan.nii.gz")
        classes = PREPARATION.label(np.asarray(other.dataobj), other.affine)
        for name in ("out.nii.gz", "out.nii"):
            out = tmp_path / name
            out.write_bytes(NIFTI.write(out, {"class_index": classes}, tmp_path / "scan.nii.gz", {"fields": FIELDS}))
            made = nibabel.load(out)
            np.testing.assert_array_equal(made.affine, other.affine)
            np.testing.assert_array_equal(np.asarray(made.dataobj), np.asarray(other.dataobj))
            assert made.header.get_zooms() == other.header.get_zooms()
            assert made.header.get_xyzt_units() == ("mm", "sec")
            assert made.get_data_dtype() == np.uint8

    def test_two_sequences_in_one_file(self, written):
        with pytest.raises(DataError, match="holds one sequence, and the student reads t1, t2"):
            NIFTI.read(written / "patient_000" / "patient_000_t1.nii.gz", {"t1": {}, "t2": {}})

    def test_no_classes_and_no_grid(self, written, tmp_path):
        with pytest.raises(DataError, match="no class per voxel"):
            NIFTI.write(tmp_path / "o.nii.gz", {"logits": np.zeros(3)}, written, {"fields": FIELDS})
        (tmp_path / "scan.npz").write_bytes(b"")
        with pytest.raises(DataError, match="no grid to write on"):
            NIFTI.write(
                tmp_path / "o.nii.gz",
                {"class_index": np.zeros((1, 2, 2))},
                tmp_path / "scan.npz",
                {"fields": FIELDS},
            )
