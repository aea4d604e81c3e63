"""A clip as the report shows it."""

from matplotlib.figure import Figure

from mmkd_crossmodal.datasets.clips import LIMBS
from mmkd_crossmodal.datasets.motion import Motion
from mmkd_crossmodal.motion.body import JOINTS


def test_skeleton_and_readings_are_drawn():
    data, figure = Motion(subjects=3, trials=1), Figure()
    assert "skeleton" in data.draw(2, figure)
    body, acceleration, rotation = figure.axes
    assert len(body.lines) == 5 * len(LIMBS)
    assert [len(axes.lines) for axes in (acceleration, rotation)] == [3, 3]


def test_limbs_join_all_joints():
    assert {joint for limb in LIMBS for joint in limb} == set(JOINTS)
