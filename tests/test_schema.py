"""The workflow's input schema."""

from __future__ import annotations

import socket

import pytest

from eachlabs_frames.inputs.schema import MAX_REASON_LENGTH, SchemaError, commonest, compile_check, integer_keys
from eachlabs_frames.models import Json


def test_a_reason_never_repeats_a_whole_prompt() -> None:
    """A hundred thousand characters of input do not become an error of that length."""
    check = compile_check({"properties": {"a": {"type": "integer"}}})
    reason = check({"a": "x" * 100_000})
    assert reason is not None
    assert reason.endswith('is not of type "integer"')
    assert len(reason) <= MAX_REASON_LENGTH + 5


@pytest.mark.parametrize("closed", [True, False])
def test_a_misspelt_key_is_named_with_the_one_that_was_probably_meant(closed: bool) -> None:
    """Whether the schema refuses the key itself, or misses the right one."""
    check = compile_check(
        {"properties": {"prompt": {}, "style": {}}, "required": ["prompt"], "additionalProperties": not closed}
    )
    reason = check({"promt": "a fox", "style": "noir"})
    assert reason is not None
    assert reason.endswith("(did you mean 'prompt' instead of 'promt'?)")
    assert check({"prompt": "a fox"}) is None


def test_a_schema_that_is_none_is_said() -> None:
    """With what is wrong in it."""
    with pytest.raises(SchemaError, match="objectx"):
        compile_check({"type": "objectx"})


def test_nothing_that_a_schema_refers_to_is_fetched() -> None:
    """Whoever wrote a workflow does not send this machine anywhere: a server that listens hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        elsewhere = f"http://127.0.0.1:{listening.getsockname()[1]}/other.json"
        with pytest.raises(SchemaError, match=r"is not loaded|retriev"):
            compile_check({"properties": {"a": {"$ref": elsewhere}}})
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize(
    "rule",
    [{"anyOf": None, "oneOf": 7}, {"type": [["integer"], {"a": 1}]}, {"type": {}}, {"anyOf": {"type": "integer"}}],
)
def test_an_invalid_rule_wants_no_integer(rule: Json) -> None:
    """Whatever the API gives as a schema, no row is refused for it, and no call ends."""
    assert integer_keys({"properties": {"prompt": rule, "seed": {"type": ["integer", "null"]}}}) == {"seed"}


def test_reasons_that_differ_in_a_file_or_a_value_are_one_reason() -> None:
    """So that a summary names the most frequent one."""
    missing = [f"key 'image': there is no file {name!r} in '/data'" for name in ("a.png", "it's.png", "c.png")]
    assert commonest(["key 'image': the content is empty"] * 2 + missing) == (missing[0], 3)
    assert commonest(["seed: -1 is less than the minimum of 0", "seed: -2 is less than the minimum of 0"])[1] == 2
