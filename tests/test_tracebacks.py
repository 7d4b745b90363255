"""What IPython shows of an exception: without a kernel, by the lines that its protocol asks for."""

from __future__ import annotations

import traceback
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.tracebacks import MAX_LINES, render, short


def caught(work: Any) -> BaseException:
    """Return what a call raises."""
    with pytest.raises(BaseException) as info:  # noqa: PT011  # whatever it is
        work()
    return info.value


def test_outside_of_ipython_it_is_a_plain_traceback_of_the_users_frames() -> None:
    """And the exception itself keeps all of its frames, for a debugger."""
    exc = caught(lambda: pd.DataFrame({"prompt": ["a"]}).eachlabs.preview(inputs=["promt"]))
    frames = len(traceback.extract_tb(exc.__traceback__))
    lines = render(exc)
    assert "eachlabs_frames" + "/" not in "".join(lines)
    assert lines[-1].startswith("eachlabs_frames.errors.MappingError: ")
    assert len(traceback.extract_tb(exc.__traceback__)) == frames > 2


def test_a_cause_is_shown_where_the_users_code_raised_it(sandbox: Any) -> None:
    """Causes inside of this package say what the message says; theirs are put back too."""

    def mine(row: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(row["prompt"])

    exc = caught(lambda: pd.DataFrame({"prompt": ["a fox"]}).eachlabs.bulk_trigger("wf_abc123", mine))
    assert "ValueError: a fox" in "\n".join(render(exc))
    assert isinstance(exc.__cause__, ValueError)
    other = caught(lambda: ef.configure(base_url="http://[::1"))
    assert other.__cause__ is not None
    assert "direct cause" not in "".join(render(other))
    assert other.__cause__ is not None


def test_an_interrupt_is_cut_to_its_lines() -> None:
    """However deep the user's own calls are: the message stays."""
    interrupt = KeyboardInterrupt("the message")

    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise interrupt

    def interrupted() -> None:
        with short():
            deep(40)

    exc: Any = caught(interrupted)
    lines = exc._render_traceback_()
    assert len(lines) <= MAX_LINES
    assert lines[-1] == "KeyboardInterrupt: the message"


def test_an_error_of_ours_is_shown_whole() -> None:
    """Nothing of an exception that nobody has raised on purpose is hidden."""

    def interrupted() -> None:
        with short():
            pd.DataFrame({"prompt": ["a"]}).eachlabs._run(None)

    assert not hasattr(caught(interrupted), "_render_traceback_")
