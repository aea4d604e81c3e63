import numpy as np
import pytest

from mmkd.errors import DataError
from mmkd_crossmodal.words import class_vectors


def test_names_that_share_words_are_near():
    vectors = class_vectors(["swipe left", "swipe right", "jog", "Swipe  LEFT!"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.3 > near[0, 2]
    assert near[0, 3] == pytest.approx(1)
    np.testing.assert_array_equal(vectors[:1], class_vectors(["swipe left"]))  # no name changes another


def test_stems_are_near():
    near = class_vectors(["punching", "punch", "squat"], size=256)
    assert near[0] @ near[1] > 0.3 > near[0] @ near[2]


def test_vectors_from_a_file(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("draw 1 0\nx 0 1\ncircle 3 4\nother 1 1\n")
    vectors = class_vectors(["draw x", "circle"], file=str(file))
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "names", "complaint"),
    [
        ("a 1 2\n", ["a b"], "no vector for the word 'b'"),
        ("a 1 2\nb 1\n", ["a b"], "vectors of 1 and of 2 numbers"),
        ("a one\n", ["a"], "cannot be read as word vectors"),
        ("a nan\n", ["a"], "no finite vector"),
        (None, ["a"], "cannot be read as word vectors"),
        ("a 1\n", ["!"], "holds no word"),
    ],
)
def test_wrong_files(tmp_path, text, names, complaint):
    file = tmp_path / "words.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=complaint) as caught:
        class_vectors(names, file=str(file))
    assert "\n" not in str(caught.value)
