"""`example/two-sensors`: a generated data set with a sensor that the student has and one that it lacks."""

import torch
from mmkd.data import Dataset, Field, Split
from pydantic import NonNegativeInt, PositiveInt

CLASSES = ("left", "middle", "right")


class TwoSensors(Dataset):
    """People in one of three places, felt by a narrow sensor and seen by a wide one.

    Fields: `narrow` `[4]` tells the place in part, `wide` `[3]` tells it nearly in full, `label` is the place.

    Arguments:
        people: how many; 6 rows each. People never straddle training, validation and test.
        world: seed of everything that is generated; a run's seed draws the split alone.
    """

    name = "example/two-sensors"
    card = "two-sensors"

    def __init__(self, *, people: PositiveInt = 60, world: NonNegativeInt = 0) -> None:
        generator = torch.Generator().manual_seed(world)
        person = torch.arange(people).repeat_interleave(6)
        label = torch.arange(6 * people) % len(CLASSES)
        place = torch.nn.functional.one_hot(label, len(CLASSES)).float()
        mixing = torch.randn(len(CLASSES), 4, generator=generator)
        habit = 0.3 * torch.randn(people, 4, generator=generator)
        narrow = place @ mixing + habit[person] + torch.randn(len(label), 4, generator=generator)
        wide = place + 0.4 * torch.randn(len(label), len(CLASSES), generator=generator)
        fields = {
            "narrow": Field((4,), layout="vector", unit="g"),
            "wide": Field((3,), layout="vector", unit="m"),
            "label": Field((), "int64", target=True, classes=CLASSES),
        }
        super().__init__(fields, {"narrow": narrow, "wide": wide, "label": label}, groups=person, unit="person")

    def split(self, seed: int) -> Split:
        """Half of the people train (a fifth of them labelled), a sixth selects, the rest tests."""
        people = int(self.groups.max()) + 1
        order = torch.randperm(people, generator=torch.Generator().manual_seed(seed))
        train, valid = max(people // 2, 2), max(people // 6, 1)
        labelled = max(train // 5, 1)
        ends = [labelled, train, train + valid, people]
        rows = [torch.isin(self.groups, order[a:b]).nonzero()[:, 0] for a, b in zip([0, *ends], ends)]
        return Split(rows[0], rows[1], rows[2], {"test": rows[3]})
