"""What the API says of executions and workflows."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eachlabs_frames as ef
from eachlabs_frames.aio.backoff import poll_delay, retry_delay
from eachlabs_frames.api.responses import (
    canonical_status,
    choose_version,
    entries,
    lacks_details,
    parse_cost,
    parse_time,
    read_outcome,
)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", "queued"),
        ("Completed", "completed"),
        ("succeeded", "completed"),
        ("canceled", "cancelled"),
        ("rebalancing", "rebalancing"),
        ("pending", "queued"),
        ("unknown", "queued"),
        ("", None),
        (None, None),
        (3, None),
    ],
)
def test_a_status_is_ours_or_shown_as_it_is(word: Any, status: str | None) -> None:
    """The platform's other words are accepted; an unknown one is not bent."""
    assert canonical_status(word) == status


@given(st.datetimes(min_value=datetime(1680, 1, 1), max_value=datetime(2260, 1, 1), timezones=st.just(timezone.utc)))
def test_a_time_is_read_as_the_datetime_that_wrote_it(moment: datetime) -> None:
    """To the microsecond."""
    since = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    exact = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
    assert parse_time(moment.isoformat()) == exact
    assert parse_time(moment.isoformat().replace("+00:00", "Z")) == exact


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-12-20T10:00:00Z", 1_766_224_800.0),
        ("2025-12-20T12:00:00+02:00", 1_766_224_800.0),
        ("2025-12-20T05:30:00-0430", 1_766_224_800.0),
        ("2025-12-20t10:00:00.5z", 1_766_224_800.5),
        ("2025-12-20 10:00:00", 1_766_224_800.0),
        ("2025-12-20", None),
        ("2025-13-20T10:00:00Z", None),
        ("9999-01-01T00:00:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_a_time_is_rfc_3339(text: Any, seconds: float | None) -> None:
    """With and without fraction and offset; anything else is no time."""
    assert parse_time(text) == (None if seconds is None else int(seconds * 1e9))


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        (0.5, 0.5),
        (2, 2.0),
        ("0.25", 0.25),
        ({"total_usd": 0.5}, 0.5),
        ({"currency": "USD", "amount": "0.5"}, 0.5),
        ({"total": {"amount": 1}}, 1.0),
        ({}, None),
        (True, None),
        (None, None),
        ("much", None),
        ([1], None),
        ("inf", None),
        ("nan", None),
        ({"total": "1e400", "usd": 0.5}, 0.5),
        (1e300, None),
        (0, 0.0),
        ("0", 0.0),
        (-0.5, None),
        (float("nan"), None),
        ({"total": -1, "amount": 0.5}, 0.5),
    ],
)
def test_a_cost_is_a_number_wherever_it_stands(cost: Any, usd: float | None) -> None:
    """A number, a numeric text, or an object that holds one."""
    assert parse_cost(cost) == usd


def test_lists_and_details_are_read_alike() -> None:
    """`ended_at` or `completed_at`, `output_json` or `output`, `error_cause` before `error`."""
    listed = {
        "execution_id": "e",
        "status": "completed",
        "ended_at": "2025-12-20T10:00:00Z",
        "output": "text",
        "output_json": {"a": 1},
        "cost": 0.1,
    }
    detailed = {
        "execution_id": "e",
        "status": "failed",
        "completed_at": "2025-12-20T10:00:00Z",
        "error": "step failed",
        "error_cause": "model out of memory",
        "bulk_id": "b",
    }
    assert read_outcome(0, listed).output == {"a": 1}
    assert read_outcome(0, listed).completed_at == read_outcome(0, detailed).completed_at == 1_766_224_800_000_000_000
    assert read_outcome(0, detailed).error == "model out of memory"
    assert read_outcome(0, detailed).bulk_id == "b"


@pytest.mark.parametrize(
    ("entry", "cost"),
    [
        ({"total_cost": 0.25}, 0.25),
        ({"total_cost": 0}, 0.0),
        ({"total_cost": None}, None),
        ({"cost": 0, "total_cost": 0.25}, 0.0),
        ({"cost": 0.5, "total_cost": 0.25}, 0.5),
        ({"cost": None, "total_cost": 0.25}, 0.25),
        ({"cost": True, "total_cost": "0.25"}, 0.25),
        ({"cost": -1.0, "total_cost": float("nan")}, None),
    ],
)
def test_the_cost_stands_in_either_of_two_fields(entry: dict[str, Any], cost: float | None) -> None:
    """`cost` in a listing, `total_cost` in the details; what is no cost does not hide the other."""
    assert read_outcome(0, {"execution_id": "e", "status": "completed", **entry}).cost == cost


@pytest.mark.parametrize(
    ("entry", "output"),
    [
        ({"workflow_output": {"a": 1}}, {"a": 1}),
        ({"output": None, "workflow_output": {"a": 1}}, {"a": 1}),
        ({"output": "text", "workflow_output": {"a": 1}}, {"a": 1}),
        ({"output": "text", "workflow_output": {}}, "text"),
        ({"output": "text", "output_json": {}}, "text"),
        ({"output": ["url"], "workflow_output": None}, ["url"]),
        ({"output": ""}, ""),
        ({"output": None, "workflow_output": {}}, {}),
        ({}, None),
    ],
)
def test_the_output_stands_in_either_of_three_fields(entry: dict[str, Any], output: Any) -> None:
    """The structured one is the whole output, unless it is empty."""
    assert read_outcome(0, {"execution_id": "e", "status": "completed", **entry}).output == output


def test_what_a_listing_lacks_has_to_be_requested() -> None:
    """Why an execution failed, and what a completed one gave."""
    assert lacks_details(read_outcome(0, {"execution_id": "e", "status": "failed"}))
    assert lacks_details(read_outcome(0, {"execution_id": "e", "status": "completed"}))
    assert not lacks_details(read_outcome(0, {"execution_id": "e", "status": "running"}))
    assert not lacks_details(read_outcome(0, {"execution_id": "e", "status": "completed", "output": ""}))


@pytest.mark.parametrize("said", [None, [], {}, {"executions": None}, {"executions": [1, {}, {"execution_id": 3}]}])
def test_a_page_without_executions_has_none(said: Any) -> None:
    """Whatever it holds instead."""
    assert list(entries(said)) == []


VERSIONS = [
    {"version_id": "v1", "status": "active", "updated_at": "2025-01-01T00:00:00Z"},
    {
        "version_id": "v2",
        "status": "active",
        "updated_at": "2025-03-01T00:00:00Z",
        "definition": {"input_schema": {"type": "object"}},
    },
    {"version_id": "v3", "status": "archived", "updated_at": "2025-09-01T00:00:00Z"},
]


def test_the_latest_version_is_the_newest_active_one() -> None:
    """An archived one does not count, however new; its schema comes along."""
    found = choose_version({"versions": VERSIONS}, workflow_id="wf", version_id=None)
    assert (found.version_id, found.input_schema) == ("v2", {"type": "object"})


def test_the_latest_version_is_what_the_api_names_where_it_does() -> None:
    """As the legacy dialect does."""
    found = choose_version({"latest_version_id": "v1", "versions": VERSIONS}, workflow_id="wf", version_id=None)
    assert (found.version_id, found.input_schema) == ("v1", None)


@pytest.mark.parametrize(
    ("said", "version", "message"),
    [
        ({"versions": VERSIONS}, "v9", r"no version 'v9'; its versions: v1, v2, v3"),
        ({"versions": VERSIONS[2:]}, None, "no active version"),
        ({}, None, "no active version"),
        ([], None, "no active version"),
    ],
)
def test_a_version_that_is_not_there_is_an_error_before_anything_is_sent(said: Any, version: Any, message: str) -> None:
    """With those that are."""
    with pytest.raises(ef.NotFoundError, match=message):
        choose_version(said, workflow_id="wf", version_id=version)


@pytest.mark.parametrize("definition", [None, {}, {"input_schema": None}, {"input_schema": "odd"}, "odd"])
def test_a_schema_may_be_absent(definition: Any) -> None:
    """Or be no schema at all."""
    versions = [{"version_id": "v1", "status": "active", "definition": definition}]
    assert choose_version({"versions": versions}, workflow_id="wf", version_id=None).input_schema is None


@given(st.integers(1, 10**6), st.one_of(st.none(), st.floats(0, 10**4)), st.floats(0, 1, exclude_max=True))
def test_a_retry_never_comes_before_its_floor_nor_long_after_its_ceiling(
    attempt: int, floor: float | None, draw: float
) -> None:
    """Between Retry-After and a minute, however often it was tried."""
    delay = retry_delay(attempt, floor=floor, draw=draw)
    assert (floor or 0) <= delay <= max(floor or 0, 60.0)
    assert delay > 0


@given(st.integers(1, 10**6), st.one_of(st.none(), st.floats(0, 10**4)), st.floats(0, 1, exclude_max=True))
def test_polls_come_every_1_to_15_seconds(look: int, floor: float | None, draw: float) -> None:
    """A fifth less or more, and never before Retry-After."""
    delay = poll_delay(look, floor=floor, draw=draw)
    assert max(floor or 0, 0.8) <= delay <= max(floor or 0, 15.0)
