"""A DataFrame of inputs becomes a DataFrame of results, through the each::labs workflow API.

Owns the public names; importing it registers ``df.eachlabs``. What is heavy is imported when it is first needed.
"""

from typing import TYPE_CHECKING, Any

from . import sandbox
from .core.mapping import lit, template
from .errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BridgeError,
    ColumnError,
    ConfigurationError,
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
from .frames import accept_journal_loss, accessor, attach, compare, delete_run, load_run, register, runs, sweep
from .log import guard
from .models import Event, Outcome
from .settings import Settings, configure
from .views.cell_requests import watch

if TYPE_CHECKING:
    from .frames.run import Run
    from .frames.webhook import WebhookReceiver

__version__ = "0.1.0"

guard()
register()
watch()

__all__ = [
    "APIConnectionError",
    "APIError",
    "AuthenticationError",
    "BridgeError",
    "ColumnError",
    "ConfigurationError",
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
    "delete_run",
    "lit",
    "load_run",
    "runs",
    "sandbox",
    "sweep",
    "template",
]


_LATER = {"Run": "run", "WebhookReceiver": "webhook"}
"""Names of `frames` that bring asyncio in, which importing this package must not."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f".frames.{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    """Return the public names alone, those included that are imported when they are first needed."""
    return list(__all__)
