"""Tests that API keys and webhook secrets never appear in exceptions, logs, reprs or the journal."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eachlabs_frames as ef
from eachlabs_frames.frames.options import TriggerOptions
from eachlabs_frames.models import Request, Secret, Target
from eachlabs_frames.sandbox import Fault, Sandbox
from eachlabs_frames.settings import current

WF = "wf_abc123"
KEY = "smk_the-very-secret-key"
WEBHOOK_SECRET = "the-webhooks-own-secret"
HOOK: dict[str, Any] = {"webhook_url": "https://example.org/hook"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Start a sandbox with a recognizable API key."""
    with ef.sandbox.start(api_key=KEY, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as running:
        yield running


def format_with_locals(exc: BaseException) -> str:
    """Return the traceback of an exception and of its chain, with local variables, as error reporting tools print it.

    Frames of this file are left out, because the test itself holds the secrets.
    """
    texts: list[str] = []
    pending: list[BaseException | None] = [exc]
    while pending:
        error = pending.pop()
        if error is None:
            continue
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        report.stack = traceback.StackSummary.from_list([frame for frame in report.stack if frame.filename != __file__])
        texts += [*report.format(chain=False), repr(error), repr(vars(error))]
        pending += [error.__cause__, error.__context__]
    return "".join(texts)


def trigger(**options: Any) -> Any:
    """Trigger two rows."""
    return frame().eachlabs.bulk_trigger(WF, webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options})


def trigger_async(**options: Any) -> Any:
    """Trigger two rows with the async method."""
    return asyncio.run(frame().eachlabs.bulk_trigger_async(WF, webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options}))


def start(**options: Any) -> Any:
    """Trigger two rows in the background."""
    return frame().eachlabs.start(WF, webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options}).result()


def retry(**options: Any) -> Any:
    """Retry failed rows of a frame that was never triggered."""
    return frame().eachlabs.retry_failed(webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options})


def frame() -> pd.DataFrame:
    """Return a frame of two rows."""
    return pd.DataFrame({"prompt": ["a", "b"]})


@pytest.mark.parametrize("call", [trigger, trigger_async, start, retry])
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"webhook_url": None}, None),
        ({"webhook_url": "nowhere"}, None),
        ({"max_concurrency": -1}, None),
        ({"prefix": 3}, None),
        ({"inputs": ["no such column"]}, None),
        ({"inputs": lambda row: 1 / 0}, None),
        ({}, "unauthorized"),
        ({}, "forbidden"),
        ({}, "not_found"),
        ({}, "payment"),
        ({}, "garbage"),
        ({}, "redirect"),
    ],
)
def test_exceptions_contain_no_secret(
    sandbox: Sandbox, call: Callable[..., Any], options: dict[str, Any], kind: str | None
) -> None:
    """Neither the message, nor the local variables of a frame, nor the chained exceptions contain a secret."""
    ef.configure(max_wait=0.5, settle_window=0.5)
    if kind is not None:
        sandbox.faults(Fault(kind, on="any", details=f"the key {KEY} and the secret {WEBHOOK_SECRET}"))
    try:
        with warnings.catch_warnings(record=True) as caught:
            out = call(**options)
    except Exception as exc:  # noqa: BLE001 - each call raises another error
        text = format_with_locals(exc)
    else:
        text = out.to_csv() + repr(out.attrs)
    text += "".join(str(warning.message) for warning in caught)
    assert KEY not in text
    assert WEBHOOK_SECRET not in text


def test_log_and_journal_contain_no_secret(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also if the API repeats the secrets in its responses."""
    caplog.set_level(logging.DEBUG)
    ef.configure(journal=tmp_path / "journal.sqlite", settle_window=1.0)
    echo = f"the key {KEY} and the secret {WEBHOOK_SECRET}"
    sandbox.faults(Fault("unprocessable", details=echo, times=3), Fault("error_after", details=echo, times=1))
    out = trigger(run="one", wait=True)
    assert out["error"].notna().any()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (KEY, WEBHOOK_SECRET):
        assert secret not in caplog.text + out.to_csv() + repr(out.attrs)
        assert secret.encode() not in stored


def test_reprs_contain_no_secret(sandbox: Sandbox) -> None:
    """The repr and str of the objects that hold a secret do not contain it, and a secret cannot be pickled."""
    secret = Secret(WEBHOOK_SECRET)
    body = b'{"webhook_secret":"' + WEBHOOK_SECRET.encode() + b'"}'
    with ef.WebhookReceiver(secret=WEBHOOK_SECRET) as hook:
        objects: list[object] = [
            ef.configure(api_key=KEY),
            current(),
            current().key(),
            Target("wf", "v1", "https://example.org", secret),
            Request("POST", "/x", body=body),
            TriggerOptions(webhook_secret=secret),
            hook,
            sandbox.accepted,
        ]
        text = "".join(f"{item!r}{item!s}" for item in objects) + f"{secret:}"
    assert KEY not in text
    assert WEBHOOK_SECRET not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_sandbox_does_not_show_the_webhook_secret(sandbox: Sandbox) -> None:
    """The reprs of its accepted executions and its requests do not contain it."""
    trigger()
    assert WEBHOOK_SECRET not in repr(sandbox.accepted) + repr(sandbox.requests) + repr(sandbox)
