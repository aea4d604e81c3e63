"""`graph/typed-blocks`: generated papers whose authors and venues know better what their words say in part."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from mmkd_graph.datasets.typed import TypedData
from mmkd_graph.splits import Rows, Setting, per_class
from mmkd_graph.typed import Rows as Ids
from mmkd_graph.typed import TypedGraph, with_reverse

CLASSES = 4
PAPERS, AUTHORS, VENUES = 1200, 400, 40
OLD = 400  # papers that labels are drawn from; the others are unlabelled and tested
AUTHORS_PER_PAPER, CITED_PER_PAPER = 3, 2
WORDS, SKILLS, SCOPES = 32, 16, 8
OWN, TIED = 0.35, 0.5  # distance of a class's centre from 0, in standard deviations per feature that tells it
FAITHFUL = 0.6  # share of ties that join nodes of one class; the rest is drawn among all

World = Literal["positive", "null", "harm"]


class TypedBlocks(TypedData):
    """1,200 papers, 400 authors and 40 venues of 4 classes; stochastic blocks tie them, Gaussian features tell them.

    A paper's own features `x` tell its class in part; those of its authors and its venue, which the teacher alone
    reads, tell it well, and so do the papers that it cites.

    Arguments:
        world: seed of everything that is generated; the run's seed draws the split alone.
        setting: `positive`: ties join nodes of one class more often than by chance. `null`: ties are drawn without
            regard to the class, so that they and all that is found along them say nothing of it. `harm`: the ties of
            the old papers, which labels are drawn from, join one class as in `positive`, but those of the others join
            the next class, so that a teacher which is good on validation rows misleads.
        hold_out: `transductive`; `production`, a fifth of test papers held out; `inductive`, those for selection too.
        labels_per_class: labelled training papers, of the old ones.
        valid_per_class: papers for selection, of the old ones.
    """

    name = "graph/typed-blocks"
    card = "typed-blocks"

    def __init__(
        self,
        *,
        world: NonNegativeInt = 0,
        setting: World = "positive",
        hold_out: Setting = "transductive",
        labels_per_class: PositiveInt = 10,
        valid_per_class: PositiveInt = 15,
    ) -> None:
        graph = generate(world, setting)
        metapaths = {"pap": ["author"], "pvp": ["venue"], "pp": []}
        super().__init__(graph, setting=hold_out, metapaths=metapaths)
        self.labels_per_class, self.valid_per_class = labels_per_class, valid_per_class

    def parts(self, seed: int) -> tuple[Rows, Rows, Rows]:
        labels = self.samples["label"].numpy()
        labelled, valid, rest = per_class(labels[:OLD], seed, self.labels_per_class, self.valid_per_class)
        return labelled, valid, np.concatenate([rest, np.arange(OLD, len(labels))])


def generate(world: int, setting: World) -> TypedGraph:
    """The graph of a world: a function of both arguments; `x` and labels are the same in all three settings."""
    random = np.random.default_rng(world)
    kinds = {"paper": (PAPERS, WORDS, OWN), "author": (AUTHORS, SKILLS, TIED), "venue": (VENUES, SCOPES, TIED)}
    label = {name: random.permutation(np.arange(count) % CLASSES) for name, (count, _, _) in kinds.items()}
    features = {name: _clouds(random, label[name], width, distance) for name, (_, width, distance) in kinds.items()}
    joins = label["paper"].copy()  # the class that a paper's ties lead to
    if setting == "harm":
        joins[OLD:] = (joins[OLD:] + 1) % CLASSES
    faithful = 0.0 if setting == "null" else FAITHFUL
    ties = {
        ("paper", "written_by", "author"): (label["author"], AUTHORS_PER_PAPER),
        ("paper", "in", "venue"): (label["venue"], 1),
        ("paper", "cites", "paper"): (label["paper"], CITED_PER_PAPER),
    }
    edges = {key: _blocks(random, joins, ends, each, faithful) for key, (ends, each) in ties.items()}
    cites = edges["paper", "cites", "paper"]
    edges["paper", "cited_by", "paper"] = cites[::-1].copy()
    return TypedGraph(features, with_reverse(edges), "paper", label["paper"], tuple("ABCD"))


def _clouds(random: np.random.Generator, label: Ids, width: int, distance: float) -> np.ndarray:
    """Gaussian features around one random sign vector per class."""
    centres = random.choice([-1.0, 1.0], (CLASSES, width)) * distance
    return (centres[label] + random.normal(size=(len(label), width))).astype(np.float32)


def _blocks(random: np.random.Generator, joins: Ids, ends: Ids, each: int, faithful: float) -> Ids:
    """`each` ties of every paper, `[2, papers * each]`: to a node of the class that it joins, or to any."""
    members = [np.flatnonzero(ends == number) for number in range(CLASSES)]
    source = np.repeat(np.arange(len(joins)), each)
    own = np.array([random.choice(members[number]) for number in joins[source]])
    anyone = random.integers(len(ends), size=len(source))
    return np.stack([source, np.where(random.random(len(source)) < faithful, own, anyone)])
