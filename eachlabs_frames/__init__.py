"""Run an each::labs workflow for each row of a pandas DataFrame.

Importing this package registers the accessor ``df.eachlabs``:

- ``df.eachlabs.preview`` returns the payload of each row and sends nothing.
- ``df.eachlabs.bulk_trigger`` sends the rows and returns the frame with the columns ``bulk_id``, ``execution_id``,
  ``status``, ``error``, ``started_at``, ``completed_at``, ``output`` and ``cost``.
- ``df.eachlabs.start`` returns a `Run` immediately; it sends the rows and polls their executions in the background.

`configure` sets the API key and the limits. ``ef.sandbox.start()`` starts a local server that stands in for the API,
for use without an account. Every execution is billed, so each request is recorded in a journal before it is sent;
`runs` lists the recorded runs, and `load_run` returns the results of one.

Examples
--------
>>> import pandas as pd, eachlabs_frames as ef
>>> with ef.sandbox.start():
...     df = pd.DataFrame({"prompt": ["a fox", "a heron"]})
...     out = df.eachlabs.bulk_trigger("wf_abc123", wait=True)
>>> out["status"].tolist()
['completed', 'completed']
"""

from typing import TYPE_CHECKING, Any

from . import sandbox
from .accessors.dataframe import accessor, register
from .errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BridgeError,
    ColumnError,
    ConfigurationError,
    DeclinedError,
    EachlabsError,
    FrameTypeError,
    InputError,
    Interrupted,
    JournalError,
    MappingError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RunError,
    UnsettledWarning,
    UsageError,
)
from .frames.options import SAME_INPUT_ONCE
from .frames.runs import accept_journal_loss, delete_run, load_run, runs
from .inputs.mapping import file, lit, template
from .log import guard
from .models import Event, Outcome
from .settings import Settings, configure
from .sweeps.file_axis import files_in
from .sweeps.sweep import sweep
from .views.common.cell_requests import watch
from .views.comparison.source import compare

if TYPE_CHECKING:
    from .accessors.run import Run
    from .frames.partition import partition_results, pin_version, result_schema, trigger_partition
    from .frames.track import attach
    from .frames.uploaded_files import delete_files, files
    from .webhooks.receiver import WebhookReceiver

__version__ = "0.1.0"

guard()
register()
watch()

__all__ = [
    "SAME_INPUT_ONCE",
    "APIConnectionError",
    "APIError",
    "AuthenticationError",
    "BridgeError",
    "ColumnError",
    "ConfigurationError",
    "DeclinedError",
    "EachlabsError",
    "Event",
    "FrameTypeError",
    "InputError",
    "Interrupted",
    "JournalError",
    "MappingError",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "RateLimitError",
    "Run",
    "RunError",
    "Settings",
    "UnsettledWarning",
    "UsageError",
    "WebhookReceiver",
    "accept_journal_loss",
    "accessor",
    "attach",
    "compare",
    "configure",
    "delete_files",
    "delete_run",
    "file",
    "files",
    "files_in",
    "lit",
    "load_run",
    "partition_results",
    "pin_version",
    "result_schema",
    "runs",
    "sandbox",
    "sweep",
    "template",
    "trigger_partition",
]


_LATER = {
    "Run": ".accessors.run",
    "WebhookReceiver": ".webhooks.receiver",
    "attach": ".frames.track",
    "delete_files": ".frames.uploaded_files",
    "files": ".frames.uploaded_files",
    "partition_results": ".frames.partition",
    "pin_version": ".frames.partition",
    "result_schema": ".frames.partition",
    "trigger_partition": ".frames.partition",
}
"""Names whose modules import asyncio, so they are imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_LATER[name], __name__), name)


def __dir__() -> list[str]:
    """Return the public names, including those that are imported on first use."""
    return list(__all__)
