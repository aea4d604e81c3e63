"""A tree as a picture."""

import numpy as np

from mmkd_symbolic.models.drawing import _places, tree_picture
from mmkd_symbolic.models.tree import Tree


def stump():
    """Node 0 tests column 1; node 2 tests column 0; leaves 1, 3, 4."""
    return Tree(
        np.array([1, -1, 0, -1, -1]),
        np.array([0.5, 0, 2, 0, 0], np.float32),
        np.array([1, -1, 3, -1, -1]),
        np.array([2, -1, 4, -1, -1]),
        np.array([[0.5, 0.5], [1, 0], [0.3, 0.7], [0.6, 0.4], [0, 1]]),
    )


def test_leaves_stand_side_by_side_and_tests_amid_their_children():
    assert _places(stump()).tolist() == [[0.75, 0], [0, 1], [1.5, 1], [1, 2], [2, 2]]


def test_a_tree_of_one_leaf_is_drawn_too():
    single = Tree(*(np.array([value]) for value in (-1, np.float32(0), -1, -1)), np.array([[0.2, 0.8]]))
    for tree in (stump(), single):
        assert tree_picture(tree, ["age", "colour=red"], ["no", "yes"])[:4] == b"\x89PNG"
