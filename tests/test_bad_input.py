"""Bad input: each has its own clear error, and nothing is sent."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.accessors.dataframe import EachlabsAccessor
from eachlabs_frames.sandbox import Sandbox

WF = "wf_abc123"


def frame() -> pd.DataFrame:
    """Make a frame that has nothing wrong."""
    return pd.DataFrame({"prompt": ["a fox", "a heron"], "style": ["noir", "photo"]}, index=["first", "second"])


def raises_on_second(row: dict[str, Any]) -> dict[str, Any]:
    """Make an input of the first row, and an error of the second."""
    return {"prompt": row["prompt"], "n": 1 / (row["prompt"] == "a fox")}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.bulk_trigger(""), ef.ConfigurationError, "workflow_id must be a non-empty string"),
        (lambda e: e.bulk_trigger(None), ef.ConfigurationError, "workflow_id"),
        (lambda e: e.bulk_trigger("a/b"), ef.ConfigurationError, "workflow_id 'a/b' would change the URL"),
        (lambda e: e.bulk_trigger(".."), ef.ConfigurationError, "would change the URL"),
        (lambda e: e.bulk_trigger("a b"), ef.ConfigurationError, "would change the URL"),
        (lambda e: e.bulk_trigger(WF, version_id="v/2"), ef.ConfigurationError, "version_id"),
        (lambda e: e.bulk_trigger(WF, version_id="v9"), ef.NotFoundError, "no version 'v9'; its versions: v"),
        (lambda e: e.bulk_trigger("wf_nope"), ef.NotFoundError, "HTTP 404"),
        (lambda e: e.bulk_trigger("wf_forbidden"), ef.PermissionDeniedError, "HTTP 403"),
        (lambda e: e.bulk_trigger(WF, ["promt"]), ef.MappingError, "did you mean 'prompt'"),
        (lambda e: e.bulk_trigger(WF, {}), ef.MappingError, "empty"),
        (lambda e: e.bulk_trigger(WF, []), ef.MappingError, "empty"),
        (lambda e: e.bulk_trigger(WF, "prompt"), ef.MappingError, r"write inputs=\['prompt'\]"),
        (
            lambda e: e.bulk_trigger(WF, lambda row: None),
            ef.InputError,
            r"row 'first' \(position 0\).*must return a dict",
        ),
        (
            lambda e: e.bulk_trigger(WF, raises_on_second),
            ef.InputError,
            r"row 'second' \(position 1\).*ZeroDivisionError",
        ),
        (lambda e: e.bulk_trigger(WF, max_concurrency=0), ef.ConfigurationError, "max_concurrency.*1 to 256"),
        (lambda e: e.bulk_trigger(WF, max_concurrency=10_000), ef.ConfigurationError, "1 to 256"),
        (lambda e: e.bulk_trigger(WF, max_concurrency="8"), ef.ConfigurationError, "1 to 256"),
        (lambda e: e.bulk_trigger(WF, webhook_url="ftp://x"), ef.ConfigurationError, "webhook_url must be an http"),
        (lambda e: e.bulk_trigger(WF, webhook_secret="s"), ef.ConfigurationError, "needs webhook_url"),
        (lambda e: e.bulk_trigger(WF, na="drop"), ef.ConfigurationError, "na must be 'omit'"),
        (lambda e: e.bulk_trigger(WF, progress="yes"), ef.ConfigurationError, "progress must be"),
        (lambda e: e.bulk_trigger(WF, retrigger="False"), ef.ConfigurationError, "retrigger must be True or False"),
        (lambda e: e.bulk_trigger(WF, wait="no"), ef.ConfigurationError, "wait must be True or False"),
        (lambda e: e.wait(timeout=float("nan")), ef.ConfigurationError, "timeout must be a number of seconds"),
        (lambda e: e.bulk_trigger(WF, prefix=3), ef.ConfigurationError, "prefix must be a string"),
        (lambda e: e.bulk_trigger(WF, nonsense=1), TypeError, "nonsense"),
        (lambda e: e.preview("a/b"), ef.ConfigurationError, "workflow_id"),
        (lambda e: e.preview(na="x"), ef.ConfigurationError, "na must be"),
        (lambda e: e.wait(timeout=-1), ef.ConfigurationError, "timeout must be a number of seconds"),
        (lambda e: e.wait(timeout="5"), ef.ConfigurationError, "timeout must be a number of seconds"),
    ],
)
def test_a_bad_argument_says_what_to_do_and_sends_nothing(
    sandbox: Sandbox, call: Any, error: Any, message: str
) -> None:
    """No row is accepted."""
    with pytest.raises(error, match=message):
        call(frame().eachlabs)
    assert sandbox.accepted == ()
    assert {record.route for record in sandbox.requests} <= {"workflow"}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (b"raw", "bytes"),
        (float("inf"), "inf"),
        ({1, 2}, "set"),
        ("\ud800", "lone surrogate"),
        (2**80, "64 bits"),
        (object(), "object"),
        ("x" * 10_000_001, "MB"),
    ],
)
@pytest.mark.parametrize("validate", [True, False])
def test_a_cell_that_cannot_be_sent_names_its_row_and_column(
    sandbox: Sandbox, cell: Any, reason: str, validate: bool
) -> None:
    """In the middle of a long frame: not one row of it is sent."""
    df = pd.DataFrame({"prompt": pd.Series(["p"] * 3_000, dtype=object)})
    df.index = [f"r{row}" for row in range(3_000)]
    df.iat[2_345, 0] = cell
    with pytest.raises(ef.InputError, match=rf"row 'r2345' \(position 2345\).*{reason}") as caught:
        df.eachlabs.bulk_trigger("wf_free", version_id="v1", validate=validate)
    if reason != "MB":
        assert "'prompt'" in str(caught.value)
    assert sandbox.accepted == ()


def test_several_bad_cells_are_counted(sandbox: Sandbox) -> None:
    """The first is named, and where to see the others."""
    df = pd.DataFrame({"prompt": [b"x", "ok", b"y"]})
    with pytest.raises(ef.InputError, match=r"row 0 .*\(2 rows have such a problem: preview\(\) lists them\)"):
        df.eachlabs.bulk_trigger("wf_free")


def test_no_key_is_one_clear_sentence() -> None:
    """Where to get one, and how to try without; nothing is asked of anybody."""
    with pytest.raises(ef.ConfigurationError, match=r"no API key.*EACHLABS_API_KEY.*sandbox\.start\(\)"):
        frame().eachlabs.bulk_trigger(WF)
    with pytest.raises(ef.ConfigurationError, match="no API key"):
        ef.attach("00000000-0000-0000-0000-000000000005", WF)


def test_a_misspelt_variable_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name alone: its value may be the key."""
    monkeypatch.setenv("EACHLABS_APIKEY", "smk_4711")
    with pytest.raises(ef.ConfigurationError, match=r"the environment has EACHLABS_APIKEY: misspelt\?") as caught:
        frame().eachlabs.bulk_trigger(WF)
    assert "4711" not in str(caught.value)


def test_a_wrong_key_is_an_authentication_error_that_does_not_show_it(sandbox: Sandbox) -> None:
    """Nor does its traceback."""
    ef.configure(api_key="sk-wrong-987")
    with pytest.raises(ef.AuthenticationError) as caught:
        frame().eachlabs.bulk_trigger(WF)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "sk-wrong-987" not in shown
    assert caught.value.status == 401


def test_the_key_is_in_no_log_and_in_nothing_of_the_frame(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level, of every library."""
    ef.configure(api_key=sandbox.api_key)
    with caplog.at_level("DEBUG"):
        out = frame().eachlabs.bulk_trigger(WF, wait=True)
    assert sandbox.api_key not in caplog.text
    assert sandbox.api_key not in repr(out.attrs) + out.to_csv()


def dask_frame() -> Any:
    """Return a Dask frame. Its import takes seconds, and each worker collects this module."""
    import dask.dataframe as dd

    return dd.from_pandas(frame(), npartitions=1)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda: frame()["prompt"].eachlabs, "pandas Series.*to_frame"),
        (lambda: frame().groupby("style").eachlabs.bulk_trigger(WF), "DataFrameGroupBy.*group the result"),
        (lambda: frame().groupby("style")["prompt"].eachlabs.bulk_trigger(WF), "SeriesGroupBy"),
        (lambda: EachlabsAccessor(dask_frame()), "dask DataFrame.*compute"),
        (lambda: EachlabsAccessor(np.zeros(3)), "numpy ndarray"),
    ],
)
def test_what_is_no_dataframe_says_what_to_do_instead(thing: Any, message: str) -> None:
    """A Series, a GroupBy, a Dask frame, an array."""
    with pytest.raises(ef.FrameTypeError, match=message):
        thing()


def test_a_series_has_no_eachlabs_as_far_as_python_is_concerned() -> None:
    """`hasattr` is false, so that tools that look around are not disturbed."""
    assert not hasattr(frame()["prompt"], "eachlabs")
    assert "eachlabs" in dir(frame())


def test_an_api_that_cannot_be_reached_is_said_before_anything_is_sent() -> None:
    """With the address to check."""
    ef.configure(api_key="k", base_url="https://no-such-host.invalid/v1", timeout=1)
    with pytest.raises(ef.APIConnectionError, match="base_url"):
        frame().eachlabs.bulk_trigger(WF)
