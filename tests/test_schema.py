"""The workflow's input schema."""

from __future__ import annotations

import pytest

from eachlabs_frames.core.schema import LONGEST_REASON, SchemaError, compile_check


def test_a_reason_never_repeats_a_whole_prompt() -> None:
    """A hundred thousand characters of input do not become an error of that length."""
    check = compile_check({"properties": {"a": {"type": "integer"}}})
    reason = check({"a": "x" * 100_000})
    assert reason is not None
    assert reason.endswith('is not of type "integer"')
    assert len(reason) <= LONGEST_REASON + 5


@pytest.mark.parametrize(
    "schema",
    [{"type": "objectx"}, {"properties": {"a": {"$ref": "http://127.0.0.1:9/other.json"}}}],
)
def test_a_schema_that_cannot_be_used_is_said_and_nothing_is_fetched(schema: dict[str, object]) -> None:
    """Neither a schema that is none, nor one that points elsewhere."""
    with pytest.raises(SchemaError):
        compile_check(schema)
