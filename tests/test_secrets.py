"""The key, the webhook's secret and a proxy's password: in nothing that a user, a log or a file ever shows."""

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
    """A sandbox with a key that can be told from everything else."""
    with ef.sandbox.start(api_key=KEY, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as running:
        yield running


def told(exc: BaseException) -> str:
    """Return an exception as tools show it that print local variables, with all that it is chained to.

    The frames of the test itself are left out: they hold the secrets because the test wrote them.
    """
    texts: list[str] = []
    waiting: list[BaseException | None] = [exc]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        shown = traceback.TracebackException.from_exception(one, capture_locals=True)
        shown.stack = traceback.StackSummary.from_list([each for each in shown.stack if each.filename != __file__])
        texts += [*shown.format(chain=False), repr(one), repr(vars(one))]
        waiting += [one.__cause__, one.__context__]
    return "".join(texts)


def trigger(**options: Any) -> Any:
    """Trigger two rows."""
    return frame().eachlabs.bulk_trigger(WF, webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options})


def trigger_async(**options: Any) -> Any:
    """Trigger two rows in a coroutine."""
    return asyncio.run(frame().eachlabs.bulk_trigger_async(WF, webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options}))


def start(**options: Any) -> Any:
    """Trigger two rows in the background."""
    return frame().eachlabs.start(WF, webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options}).result()


def retry(**options: Any) -> Any:
    """Try rows again in a frame that has none."""
    return frame().eachlabs.retry_failed(webhook_secret=WEBHOOK_SECRET, **{**HOOK, **options})


def frame() -> pd.DataFrame:
    """Make two rows."""
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
def test_no_exception_shows_a_secret(
    sandbox: Sandbox, call: Callable[..., Any], options: dict[str, Any], kind: str | None
) -> None:
    """Not in its text, nor in a local variable of any frame, nor in anything that it is chained to."""
    ef.configure(max_wait=0.5, settle_window=0.5)
    if kind is not None:
        sandbox.faults(Fault(kind, on="any", details=f"the key {KEY} and the secret {WEBHOOK_SECRET}"))
    try:
        with warnings.catch_warnings(record=True) as noticed:
            out = call(**options)
    except Exception as exc:  # noqa: BLE001 - each call has its own
        text = told(exc)
    else:
        text = out.to_csv() + repr(out.attrs)
    text += "".join(str(one.message) for one in noticed)
    assert KEY not in text
    assert WEBHOOK_SECRET not in text


def test_no_log_and_no_journal_shows_a_secret(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Though the API repeats both."""
    caplog.set_level(logging.DEBUG)
    ef.configure(journal=tmp_path / "journal.sqlite", settle_window=1.0)
    echo = f"the key {KEY} and the secret {WEBHOOK_SECRET}"
    sandbox.faults(Fault("unprocessable", details=echo, times=3), Fault("error_after", details=echo, times=1))
    out = trigger(run="one", wait=True)
    assert out["error"].notna().any()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (KEY, WEBHOOK_SECRET):
        assert secret not in caplog.text + out.to_csv() + repr(out.attrs)
        assert secret.encode() not in written


def test_no_repr_shows_a_secret(sandbox: Sandbox) -> None:
    """Of whatever is made for a call."""
    secret = Secret(WEBHOOK_SECRET)
    body = b'{"webhook_secret":"' + WEBHOOK_SECRET.encode() + b'"}'
    with ef.WebhookReceiver(secret=WEBHOOK_SECRET) as hook:
        shown: list[object] = [
            ef.configure(api_key=KEY),
            current(),
            current().key(),
            Target("wf", "v1", "https://example.org", secret),
            Request("POST", "/x", body=body),
            TriggerOptions(webhook_secret=secret),
            hook,
            sandbox.accepted,
        ]
        text = "".join(f"{one!r}{one!s}" for one in shown) + f"{secret:}"
    assert KEY not in text
    assert WEBHOOK_SECRET not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_the_sandbox_does_not_show_the_secret_of_an_execution(sandbox: Sandbox) -> None:
    """Neither in what it accepted nor in what it was asked."""
    trigger()
    assert WEBHOOK_SECRET not in repr(sandbox.accepted) + repr(sandbox.requests) + repr(sandbox)
