"""Nested dicts of tensors: names of their places, and what is declared of them."""

import json

import torch

from mmkd.data import Dataset, Field
from mmkd.data.fields import key_name
from mmkd.nested import named_tensors


def test_every_tensor_has_a_place_whatever_the_order_of_keys():
    one, two = torch.zeros(1), torch.ones(1)
    assert list(named_tensors("x", {"b": two, "a": {("p", "q"): one}})) == [
        ("x['a'][('p', 'q')]", one),
        ("x['b']", two),
    ]
    assert list(named_tensors("x", one)) == [("x", one)]
    assert list(named_tensors("x", {"a": 3})) == []


def hashed(relation):
    fields = {"x": Field((2,)), "r": Field(kind="relation")}
    return Dataset(fields, {"x": torch.zeros(3, 2)}, relations={"r": relation}).content_hash()


def test_the_hash_tells_keys_apart_and_not_their_order():
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert hashed({"a": one, "b": two}) == hashed({"b": two, "a": one})
    assert len({hashed({"a": one, "b": two}), hashed({"a": two, "b": one}), hashed({"a": one, "c": two})}) == 3


def test_parts_are_said_under_readable_names():
    field = Field(
        kind="relation", parts={("a", "to", "b"): Field((2, None), "int64", "edges", kind="relation"), "c": Field()}
    )
    said = json.loads(json.dumps(field.manifest()))
    assert said["parts"]["a to b"]["shape"] == [2, None]
    assert set(said["parts"]) == {"a to b", "c"}
    assert "parts" not in Field((3,)).manifest()
    assert key_name(("a", 1)) == "a 1"
