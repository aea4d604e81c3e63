"""Nodes drawn with their neighbours."""

import pytest
from matplotlib.figure import Figure

from mmkd_graph.datasets.digits_knn import DigitsKNN
from mmkd_graph.datasets.typed_blocks import TypedBlocks
from mmkd_graph.drawing import short, star


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_digit_stands_beside_those_it_is_tied_to():
    data, figure = DigitsKNN(), Figure()
    said = data.draw(7, figure)
    assert "digit" in said
    tied = data.neighbours(7)
    source, target = data.relations["edge_index"]
    assert sorted(tied.tolist()) == sorted(target[source == 7].tolist())
    titles = [axes.get_title() for axes in figure.axes if axes.get_title().startswith("neighbour")]
    assert titles == [f"neighbour: {int(data.samples['label'][node])}" for node in tied[:6]]


def test_a_paper_stands_among_authors_venue_and_papers():
    data, figure = TypedBlocks(), Figure()
    assert "paper" in data.draw(3, figure)
    cites = data.graph.edges["paper", "cites", "paper"]
    cited = [data.graph.classes[data.graph.labels[node]] for node in cites[1][cites[0] == 3]]
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {"author", "venue", "cites"}
    assert all(texts(figure).count(name) >= cited.count(name) for name in cited)


def test_many_neighbours_are_counted():
    figure = Figure()
    axes = figure.subplots()
    star(axes, [("a", "x")] * 40)
    assert axes.get_title(loc="left") == "14 of 40 neighbours"


@pytest.mark.parametrize(("name", "said"), [("A", "A"), ("Rule_Learning", "RL"), ("Theory", "T")])
def test_class_names_fit(name, said):
    assert short(name) == said
