"""What is particular to the data set."""

from mmkd_example.dataset import TwoSensors


def test_no_person_is_in_two_parts():
    dataset = TwoSensors(people=12)
    split = dataset.split(0)
    people = [set(dataset.groups[rows].tolist()) for rows in (split.train, split.valid, split.test_rows)]
    assert sum(map(len, people)) == len(set.union(*people)) == 12
