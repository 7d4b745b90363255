"""The items of an output: every URL once and in order, nothing lost, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eachlabs_frames.api.responses import Step, read_steps
from eachlabs_frames.frames.output_rows import OutputItem, leaves, output_items
from eachlabs_frames.media import MAX_DEPTH, urls

FOX = "https://cdn.example.com/fox.png"
OWL = "https://cdn.example.com/owl.mp4"
PAGE = "https://cdn.example.com/page"

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([FOX, PAGE])
outputs = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.", max_size=2), inner, max_size=4),
    max_leaves=25,
)


@settings(deadline=None)
@given(outputs)
def test_every_url_stands_in_one_piece_in_order(output: Any) -> None:
    """Those that a gallery or a download would find, and no other."""
    found = [(piece.kind, piece.url) for piece in output_items(output) if piece.url is not None]
    assert found == list(urls(output, None, any_length=True))


@settings(deadline=None)
@given(outputs)
def test_nothing_of_an_output_is_lost(output: Any) -> None:
    """What is no list stands in a piece as it is, each in its place."""

    def values(one: Any) -> list[Any]:
        if isinstance(one, list) and any(isinstance(inner, str | dict | list) for inner in one):
            return [value for inner in one for value in values(inner)]
        return [one]

    found = output_items(output)
    if output is None:
        assert found == []
        return
    kept: list[Any] = []
    for place, piece in enumerate(found):
        again = isinstance(piece.value, dict) and place > 0 and found[place - 1].value is piece.value
        kept += [] if again else [piece.value]
    assert list(map(id, kept)) == list(map(id, values(output)))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (FOX, [OutputItem("image", FOX, FOX)]),
        ("a fox", [OutputItem("text", "a fox")]),
        (3.5, [OutputItem("number", 3.5)]),
        (True, [OutputItem("boolean", True)]),
        ([], [OutputItem("json", [])]),
        ({}, [OutputItem("json", {})]),
        ([FOX, OWL], [OutputItem("image", FOX, FOX, "0"), OutputItem("video", OWL, OWL, "1")]),
        (["a", "b"], [OutputItem("text", "a", None, "0"), OutputItem("text", "b", None, "1")]),
        ([0.1, 0.2, None], [OutputItem("json", [0.1, 0.2, None])]),
        ([[1, 2], [3, 4]], [OutputItem("json", [1, 2], None, "0"), OutputItem("json", [3, 4], None, "1")]),
        (
            ["a", None, 1],
            [
                OutputItem("text", "a", None, "0"),
                OutputItem("json", None, None, "1"),
                OutputItem("number", 1, None, "2"),
            ],
        ),
        ({"text": "hi"}, [OutputItem("json", {"text": "hi"})]),
        ([{"a": 1}, {"a": 2}], [OutputItem("json", {"a": 1}, None, "0"), OutputItem("json", {"a": 2}, None, "1")]),
        ({"image": FOX, "seed": 1}, [OutputItem("image", {"image": FOX, "seed": 1}, FOX, "image")]),
        (
            [{"pictures": [{"url": FOX}, {"url": PAGE}]}],
            [
                OutputItem("image", {"pictures": [{"url": FOX}, {"url": PAGE}]}, FOX, "0.pictures.0.url"),
                OutputItem("link", {"pictures": [{"url": FOX}, {"url": PAGE}]}, PAGE, "0.pictures.1.url"),
            ],
        ),
    ],
)
def test_a_piece_says_what_it_is_and_where_it_stood(output: Any, expected: list[OutputItem]) -> None:
    """A list is its values, a vector is one, an object is a piece for each of its URLs."""
    assert output_items(output) == expected


def test_an_output_without_end_comes_to_one() -> None:
    """However deep it is, and whatever it holds: as deep as pictures are looked for, then as it is."""
    deep: Any = FOX
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert [piece.url for piece in output_items(deep)] == [FOX]
    assert output_items([deep])[0].kind == "json"
    for _ in range(100_000):
        deep = {"a": [deep]}
    assert len(output_items(deep)) == 1
    assert len(leaves(deep)) == 1
    long = f"https://cdn.example.com/{'a' * 40_000}.png"
    assert output_items([long])[0].url == output_items({"a": long})[0].url == long


def test_an_objects_leaves_are_named_by_their_paths() -> None:
    """Objects inside of it by theirs; a list and an empty object stay as they are."""
    said = {"a": 1, "b": {"c": {"d": None}, "e": [{"f": 1}], "g": {}}}
    expected: dict[tuple[str, ...], Any] = {
        ("a",): 1,
        ("b", "c", "d"): None,
        ("b", "e"): [{"f": 1}],
        ("b", "g"): {},
    }
    assert leaves(said) == expected
    assert leaves([1]) == leaves("x") == {}


def test_steps_are_read_in_the_order_in_which_they_began() -> None:
    """Whatever the order of the answer; those that did not begin come last."""
    said = {
        "step_outputs": {
            "c": {"step_id": "c", "status": "queued"},
            "b": {
                "step_id": "b",
                "status": "succeeded",
                "started_at": "2025-12-04T11:48:39Z",
                "completed_at": "2025-12-04T11:50:53.5Z",
                "output": [FOX, OWL],
                "primary": FOX,
                "metadata": {"model": "nano-banana-pro"},
            },
            "a": {
                "step_id": "a",
                "status": "failed",
                "started_at": "2025-12-04T11:48:10Z",
                "metadata": {"type": "http", "elapsed_seconds": 2.5},
                "error": "ModelTimeout",
                "error_cause": "timed out after 30 seconds",
            },
        }
    }
    first, second, third = read_steps(said)
    began, ended = 1_764_848_890_000_000_000, 1_764_849_053_500_000_000
    assert first == Step("a", "failed", "http", began, None, 2.5, None, None, "timed out after 30 seconds")
    assert second == Step("b", "completed", "nano-banana-pro", began + 29 * 10**9, ended, 134.5, FOX, [FOX, OWL], None)
    assert third == Step("c", "queued")


@settings(deadline=None)
@given(outputs, outputs)
def test_no_answer_about_steps_is_too_odd(step: Any, field: Any) -> None:
    """What is no step is left out, and what is no field of one is missing."""
    names = ("step_id", "status", "started_at", "completed_at", "metadata", "error", "output")
    for said in ({"step_outputs": step}, {"step_outputs": {"x": step}}, {"step_outputs": {"x": {}}}):
        assert all(isinstance(one, Step) for one in read_steps(said))
    (one,) = read_steps({"step_outputs": {"x": dict.fromkeys(names, field) | {"metadata": {"model": field}}}})
    assert one.step_id
    json.dumps(one.error)
    assert one.elapsed is None or one.elapsed >= 0 or one.started_at is not None
