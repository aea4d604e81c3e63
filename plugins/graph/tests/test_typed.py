"""Typed graphs: paths, views without hidden rows, models and their taps, the terms of HIRE and HGKD."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.data import Field
from mmkd.data.views import View
from mmkd.errors import ConfigError, DataError, LayoutError
from mmkd.layouts import NODES, TOKENS, VECTOR, Spec, Specs
from mmkd.signals import Signals
from mmkd_graph.datasets.typed import TypedData, is_derived
from mmkd_graph.datasets.typed_blocks import OLD, TypedBlocks, generate
from mmkd_graph.methods.edges import within
from mmkd_graph.methods.hgkd import HGKD, one_minus_cosine, pair_similarity, some
from mmkd_graph.methods.hire import HIRE, between_types, rows_to_types
from mmkd_graph.models.typed import ByType, Types
from mmkd_graph.typed import TypedGraph, paths, with_reverse

WROTE, CITES = ("author", "wrote", "paper"), ("paper", "cites", "paper")


def graph(**changed):
    """Five papers: 0 1 2 by author 0, 2 3 by author 1, 4 by author 2; 4 cites 0."""
    words = np.float32([[1, 0], [0, 1], [0, 0], [1, 1], [0, 1]])
    wrote = np.array([[0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 3, 4]])
    authors = np.float32([[1, 1], [1, 1], [0, 1]])  # the words of any of their papers
    edges = with_reverse({WROTE: wrote, CITES: np.array([[4], [0]])})
    known = {"features": {"paper": words, "author": authors}, "edges": edges, "target": "paper"}
    return TypedGraph(**{**known, "labels": np.array([0, 1, 0, 1, 0]), "classes": ("a", "b"), **changed})


class Five(TypedData):
    def __init__(self, **options):
        known = {"setting": "transductive", "metapaths": {"pap": ["author"], "pp": []}, "derived": ["author"]}
        super().__init__(graph(), **{**known, **options})


def pairs(edges):
    return set(map(tuple, np.asarray(edges).T.tolist()))


class TestPaths:
    def test_papers_of_one_author_are_paired_both_ways_and_none_with_itself(self):
        both = {(0, 1), (0, 2), (1, 2), (2, 3)}
        assert pairs(paths(graph(), ["author"], 10)) == both | {(b, a) for a, b in both}

    def test_a_direct_edge_counts_either_way(self):
        assert pairs(paths(graph(), [], 10)) == {(4, 0), (0, 4)}

    def test_a_longer_path_is_the_product_of_its_steps(self):
        among = graph(edges={**graph().edges, ("author", "knows", "author"): np.array([[0], [2]])})
        assert pairs(paths(among, ["author", "author"], 10)) == {(0, 4), (1, 4), (2, 4)}

    def test_of_many_neighbours_some_are_kept_and_always_the_same(self):
        kept = paths(graph(), ["author"], 1)
        assert np.bincount(kept[1], minlength=5).tolist() == [1, 1, 1, 1, 0]
        assert pairs(kept) <= pairs(paths(graph(), ["author"], 10))
        np.testing.assert_array_equal(kept, paths(graph(), ["author"], 1))

    def test_a_path_over_no_edge_is_an_error(self):
        with pytest.raises(DataError, match="no edge from paper to venue"):
            paths(graph(features={**graph().features, "venue": np.zeros((1, 1), np.float32)}), ["venue"], 3)

    def test_reverses_are_added_where_there_is_none(self):
        assert list(graph().edges) == [WROTE, CITES, ("paper", "rev_wrote", "author")]
        assert list(with_reverse(graph().edges)) == list(graph().edges)


class TestCut:
    hidden = torch.tensor([2, 4])

    def test_nothing_of_a_hidden_row_is_left(self):
        data = Five()
        relations = View(data, torch.arange(5), torch.arange(2), self.hidden).relations
        assert relations["x_dict"]["paper"][self.hidden].eq(0).all()
        assert pairs(relations["edge_index_dict"][WROTE]) == {(0, 0), (0, 1), (1, 3)}
        assert pairs(relations["edge_index_dict"]["paper", "rev_wrote", "author"]) == {(0, 0), (1, 0), (3, 1)}
        assert relations["edge_index_dict"][CITES].shape == (2, 0)
        assert pairs(relations["metapath_dict"]["paper", "pap", "paper"]) == {(0, 1), (1, 0)}
        assert relations["metapath_dict"]["paper", "pp", "paper"].shape == (2, 0)

    def test_features_made_of_rows_are_made_anew_of_those_seen(self):
        found = Five().cut(self.hidden)["x_dict"]["author"]
        assert found.tolist() == [[1, 1], [1, 1], [0, 0]]  # author 2 wrote a hidden paper alone

    def test_changing_hidden_rows_changes_no_relation(self):
        data, other = Five(), Five()
        other.relations["x_dict"]["paper"][self.hidden] = 7.0
        for name, values in data.cut(self.hidden).items():
            for key, value in values.items():
                assert torch.equal(value, other.cut(self.hidden)[name][key])

    def test_the_whole_stays_as_it_is(self):
        data = Five()
        data.cut(self.hidden)
        assert data.relations["x_dict"]["paper"].tolist() == graph().features["paper"].tolist()
        assert data.cut(self.hidden[:0]) is data.relations

    def test_derived_features_are_recognised(self):
        assert is_derived(graph(), "author")
        other = np.float32([[1, 1], [1, 1], [1, 1]])
        assert not is_derived(graph(features={**graph().features, "author": other}), "author")

    def test_production_hides_a_fifth_of_the_test_rows(self):
        split = TypedBlocks(hold_out="production").split(0)
        assert len(split.hidden) == 220 == len(split.test["ind"])


class TestContent:
    def test_two_keys_that_change_places_change_the_hash(self):
        one, other = Five(), Five()
        values = other.relations["metapath_dict"]
        first, second = values
        other.relations["metapath_dict"] = {first: values[second], second: values[first]}
        assert one.content_hash() == Five().content_hash() != other.content_hash()

    def test_a_value_that_is_not_finite_is_named_with_its_type(self):
        bad = graph().features["author"].copy()
        bad[1, 0] = np.nan
        with pytest.raises(DataError, match=r"field 'x_dict\['author'\]' holds NaN"):
            TypedData(graph(features={**graph().features, "author": bad}), setting="transductive", metapaths={"pp": []})

    def test_declared_parts_can_be_said_in_json(self):
        said = Five().fields["edge_index_dict"].manifest()["parts"]
        assert said["author wrote paper"] == {
            "shape": (2, None),
            "dtype": "int64",
            "layout": "edges",
            "kind": "relation",
        }


class TestBlocks:
    def test_a_world_is_a_function_of_its_seed(self):
        for one, other in ((generate(3, "positive"), generate(3, "positive")),):
            assert all(np.array_equal(one.features[name], other.features[name]) for name in one.features)
            assert all(np.array_equal(one.edges[key], other.edges[key]) for key in one.edges)
        assert not np.array_equal(generate(4, "positive").labels, one.labels)

    def test_settings_differ_in_ties_alone(self):
        one, none, harm = (generate(0, setting) for setting in ("positive", "null", "harm"))
        for other in (none, harm):
            assert np.array_equal(one.labels, other.labels)
            assert all(np.array_equal(one.features[name], other.features[name]) for name in one.features)

    @pytest.mark.parametrize(
        ("setting", "old", "new"), [("positive", 0.7, 0.7), ("null", 0.25, 0.25), ("harm", 0.7, 0.1)]
    )
    def test_how_often_ties_join_one_class(self, setting, old, new):
        made = generate(0, setting)
        paper, cited = made.edges["paper", "cites", "paper"]
        same = made.labels[paper] == made.labels[cited]
        assert same[paper < OLD].mean() == pytest.approx(old, abs=0.05)
        assert same[paper >= OLD].mean() == pytest.approx(new, abs=0.05)

    def test_labels_are_of_old_papers_and_all_others_are_tested(self):
        split = TypedBlocks().split(1)
        assert max(split.labelled.max(), split.valid.max()) < OLD
        assert len(split.test["test"]) + len(split.labelled) + len(split.valid) == 1200


class TestByType:
    edges = {WROTE: torch.tensor([[0, 1, 0], [0, 0, 1]]), CITES: torch.tensor([[1], [2]])}  # noqa: RUF012
    h = {"paper": torch.tensor([[1.0, 0], [0, 2], [3, 3]]), "author": torch.tensor([[2.0, 4], [4, 0]])}  # noqa: RUF012

    def test_own_embedding_then_means_of_neighbours(self):
        said = ByType("paper", (WROTE, CITES))(self.h, self.edges)
        assert said.tolist() == [[[1, 0], [3, 2], [0, 0]], [[0, 2], [2, 4], [0, 0]], [[3, 3], [0, 0], [0, 2]]]

    def test_ties_of_one_type_count_together(self):
        again = ("author", "edited", "paper")
        said = ByType("paper", (WROTE, again))(self.h, {**self.edges, again: torch.tensor([[1], [1]])})
        assert said[1, 1].tolist() == [3, 2]


@pytest.fixture(scope="module")
def data():
    return TypedBlocks()


class TestModels:
    def hgt(self, data, **options):
        from mmkd_graph.models.hgt import HGT

        torch.manual_seed(0)
        return HGT(data.fields, {"logits": (4,)}, hidden=8, **options).eval()

    def test_the_logits_are_a_linear_map_of_the_tap(self, data):
        model, seen = self.hgt(data, layers=2), []
        model.row.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
        said = model(data.relations["x_dict"], data.relations["edge_index_dict"])
        assert said.shape == (1200, 4)
        assert torch.equal(said, model.last(seen[0]))

    def test_the_first_token_is_the_row(self, data):
        model, seen = self.hgt(data), {}
        for name in ("row", "by_type"):
            getattr(model, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        model(data.relations["x_dict"], data.relations["edge_index_dict"])
        assert seen["by_type"].shape == (1200, 4, 8)
        assert torch.equal(seen["by_type"][:, 0], seen["row"])

    def test_relabelled_authors_change_nothing(self, data):
        model = self.hgt(data)
        x, edges = dict(data.relations["x_dict"]), dict(data.relations["edge_index_dict"])
        before = model(x, edges)
        order = torch.randperm(len(x["author"]))
        x["author"] = x["author"][order]
        for key, (source, target) in edges.items():
            ends = [
                order.argsort()[e] if kind == "author" else e
                for kind, e in zip(key[::2], (source, target), strict=True)
            ]
            edges[key] = torch.stack(ends)
        torch.testing.assert_close(model(x, edges), before, atol=1e-5, rtol=1e-4)

    def test_han_moves_with_its_rows_and_hears_their_neighbours(self, data):
        from mmkd_graph.models.han import HAN

        torch.manual_seed(0)
        model = HAN(data.fields, {"logits": (4,)}, hidden=8, heads=2).eval()
        near, x = data.relations["metapath_dict"], data.samples["x"]
        order = torch.randperm(len(x))
        moved = {key: order.argsort()[edges] for key, edges in near.items()}
        with torch.no_grad():
            said = model(x, near)
            torch.testing.assert_close(model(x[order], moved), said[order], atol=1e-5, rtol=1e-4)
            lonely = model(x, {key: edges[:, :0] for key, edges in near.items()})
        assert not torch.allclose(lonely, said, atol=1e-3)

    def test_a_data_set_without_types_is_refused(self):
        with pytest.raises(ConfigError, match="needs the relations x_dict and edge_index_dict with declared parts"):
            Types.of({"x": Field((3,))}, "graph/hgt")

    def test_heads_must_share_the_channels(self, data):
        with pytest.raises(ConfigError, match="hidden = 8 is no multiple of heads = 3"):
            self.hgt(data, heads=3)


class TestHGKD:
    def test_by_hand(self):
        student = torch.tensor([[1.0, 0], [1, 1], [0, 2]])
        teacher = torch.tensor([[3.0, 0, 0], [0, 0, 1], [0, 0, 5]])
        ends = torch.tensor([[0, 1], [1, 2]])
        half = 2**-0.5  # cosines: student 1/sqrt 2 twice; teacher 0 and 1
        assert pair_similarity(student, teacher, ends).item() == pytest.approx((half**2 + (half - 1) ** 2) / 2)
        assert one_minus_cosine(student, student * 3).item() == pytest.approx(0, abs=1e-6)
        assert one_minus_cosine(student, -student).item() == pytest.approx(2)

    def test_lengths_do_not_matter(self):
        s, t = torch.randn(6, 4), torch.randn(6, 3)
        ends = torch.randint(0, 6, (2, 9))
        torch.testing.assert_close(pair_similarity(s * 7, t * 0.1, ends), pair_similarity(s, t, ends))

    def test_no_pair_gives_zero_with_a_gradient_path(self):
        s = torch.randn(3, 2, requires_grad=True)
        loss = pair_similarity(s, torch.randn(3, 2), torch.empty(2, 0, dtype=torch.long))
        loss.backward()
        assert loss.item() == 0
        assert s.grad.eq(0).all()

    def test_gradients(self):
        s = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
        t, ends = torch.randn(4, 2), torch.tensor([[0, 1, 3], [2, 3, 0]])
        pair_similarity(s, t, ends).backward()
        wanted = torch.zeros_like(s)
        for a, b in ends.T.tolist():  # d cos(a, b) / d a = (b/|b| - cos * a/|a|) / |a|
            cos = F.cosine_similarity(s[a], s[b], dim=0)
            off = 2 / 3 * (cos - F.cosine_similarity(t[a], t[b], dim=0))
            for one, two in ((a, b), (b, a)):
                u, v = s[one] / s[one].norm(), s[two] / s[two].norm()
                wanted[one] += (off * (v - cos * u) / s[one].norm()).detach()
        torch.testing.assert_close(s.grad, wanted, atol=1e-5, rtol=1e-4)

    def test_pairs_within_a_batch(self):
        ends = torch.tensor([[0, 5, 7, 7], [5, 7, 2, 5]])
        assert within(ends, torch.tensor([7, 3, 5]), 9).tolist() == [[2, 0], [0, 2]]
        assert some(ends, 4) is ends
        assert pairs(some(ends, 2)) < pairs(ends)

    def specs(self, **features):
        return Specs({"logits": Spec(None, (3,))}, features)

    def test_terms_can_be_left_out_and_add_up(self):
        student = self.specs(penultimate=Spec(VECTOR, (4,)))
        sources = {"teacher": self.specs(penultimate=Spec(NODES, (5,)))}
        torch.manual_seed(0)
        method = HGKD(student, sources)
        assert (5, 4) in {tuple(parameter.shape) for parameter in method.parameters()}
        data = Five()
        batch = View(data, torch.arange(5), torch.arange(5)).batch(torch.tensor([1, 0, 3, 2]))
        mine = Signals({"logits": torch.randn(4, 3)}, {"penultimate": torch.randn(4, 4)})
        said = {"teacher": Signals({"logits": torch.randn(4, 3)}, {"penultimate": torch.randn(4, 5)})}
        losses = method(mine, said, batch)
        assert set(losses) == {"kl", "cosine", "metapath"}
        wrote = torch.tensor(
            [[0, 1, 3, 1, 3, 0, 3, 2], [1, 0, 1, 3, 0, 3, 2, 3]]
        )  # by one author, as places in the batch
        own, theirs = mine.features["penultimate"], said["teacher"].features["penultimate"]
        torch.testing.assert_close(losses["metapath"], pair_similarity(own, theirs, wrote) / 2)  # no citation in it
        for term in losses:
            alone = HGKD(student, sources, **{other: 0.0 for other in losses if other != term}, **{term: 2.0})
            alone.load_state_dict(method.state_dict(), strict=False)
            assert list(alone(mine, said, batch)) == [term]
            torch.testing.assert_close(alone(mine, said, batch)[term], 2 * losses[term])

    def test_without_features_none_are_read(self):
        sources = {"teacher": self.specs()}
        assert HGKD(self.specs(), sources, cosine=0.0, metapath=0.0).reads == {}
        with pytest.raises(LayoutError, match="no tap 'penultimate'"):
            HGKD(self.specs(), sources)
        with pytest.raises(ConfigError, match="nothing to learn"):
            HGKD(self.specs(), sources, kl=0.0, cosine=0.0, metapath=0.0)


class TestHIRE:
    def test_by_hand(self):
        teacher = torch.tensor([[[1.0, 0], [0, 3], [2, 2]]])  # cosines 0, 1/sqrt 2, 1/sqrt 2
        student = torch.tensor([[[2.0], [5], [-1]]])  # cosines 1, -1, -1
        half = 2**-0.5
        assert between_types(student, teacher).item() == pytest.approx((1 + 2 * (1 + half) ** 2) / 3)
        # the row itself against the teacher's types: wanted 0 and 1/sqrt 2
        assert rows_to_types(torch.tensor([[0.0, 4]]), teacher).item() == pytest.approx((1 + 0) / 2)
        assert rows_to_types(torch.tensor([[0.5, 0]]), teacher).item() == pytest.approx(0, abs=1e-7)

    def test_a_rotated_teacher_teaches_the_same(self):
        s, t = torch.randn(5, 3, 4), torch.randn(5, 3, 6)
        turn = torch.linalg.qr(torch.randn(6, 6)).Q
        torch.testing.assert_close(between_types(s, t @ turn * 3), between_types(s, t), atol=1e-5, rtol=1e-4)

    def test_the_gradient_reaches_the_student_alone(self):
        s, t = torch.randn(4, 3, 2, requires_grad=True), torch.randn(4, 3, 2, requires_grad=True)
        between_types(s, t).backward()
        assert s.grad.abs().sum() > 0
        assert t.grad is None

    def test_a_type_without_neighbours_has_cosine_zero(self):
        s = torch.zeros(1, 3, 2, requires_grad=True)
        between_types(s, torch.ones(1, 3, 2)).backward()
        assert torch.isfinite(s.grad).all()

    teacher = {"teacher": Specs({"logits": Spec(None, (3,))}, {"types": Spec(TOKENS, (4, 6))})}  # noqa: RUF012

    def student(self, **features):
        return Specs({"logits": Spec(None, (3,))}, features)

    def said(self, rows=5):
        return {"teacher": Signals({"logits": torch.randn(rows, 3)}, {"types": torch.randn(rows, 4, 6)})}

    def test_the_type_level_compares_means(self):
        method = HIRE(self.student(types=Spec(TOKENS, (4, 2))), self.teacher, level="type", node=0.0)
        mine, said = Signals({"logits": torch.randn(5, 3)}, {"types": torch.randn(5, 4, 2)}), self.said()
        theirs = said["teacher"].features["types"]
        wanted = between_types(mine.features["types"].mean(0)[None], theirs.mean(0)[None])
        assert method(mine, said, SimpleNamespace()) == {"relation": wanted}

    def test_a_student_of_rows_alone_is_adapted(self):
        method = HIRE(self.student(penultimate=Spec(VECTOR, (2,))), self.teacher, student_role="penultimate")
        mine, said = Signals({"logits": torch.randn(5, 3)}, {"penultimate": torch.randn(5, 2)}), self.said()
        losses = method(mine, said, SimpleNamespace())
        assert set(losses) == {"node", "relation"}
        wanted = rows_to_types(method.adapter(mine.features["penultimate"]), said["teacher"].features["types"])
        torch.testing.assert_close(losses["relation"], wanted)

    @pytest.mark.parametrize(
        ("features", "options", "says"),
        [
            ({"penultimate": Spec(VECTOR, (2,))}, {}, "embeds no other types"),
            ({"penultimate": Spec(VECTOR, (2,))}, {"student_role": "penultimate", "level": "type"}, "has rows alone"),
            ({"types": Spec(TOKENS, (3, 6))}, {}, "the student has 2 types"),
            ({"types": Spec(TOKENS, (4, 6))}, {"node": 0.0, "relation": 0.0}, "both 0"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, features, options, says):
        with pytest.raises(ConfigError, match=says):
            HIRE(self.student(**features), self.teacher, **options)

    def test_without_the_relation_no_tap_is_read(self):
        assert HIRE(self.student(), self.teacher, relation=0.0).reads == {}
