"""Checks the keywords of a call that triggers. It reads no frame."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..api.requests import check_webhook, checked_id
from ..checks import check_flag, check_positive, check_whole
from ..errors import ConfigurationError
from ..models import Observer, Secret
from ..settings import Settings, current
from . import progress_bar as bars
from .unsupported import refuse_in_dask

if TYPE_CHECKING:
    from ..webhooks.receiver import WebhookReceiver

MAX_NAME_LENGTH: Final = 200
MIN_EXPIRES_IN: Final = 60
MAX_EXPIRES_IN: Final = 31_536_000
"""Seconds that the API keeps a file (API reference, "Uploads")."""


class RowKey(Enum):
    """What identifies the rows of a run instead of a column of keys. A member keeps its identity when it is pickled."""

    SAME_INPUT_ONCE = "eachlabs.SAME_INPUT_ONCE"

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return self.name


SAME_INPUT_ONCE: Final = RowKey.SAME_INPUT_ONCE
"""For ``key=``: rows with equal inputs are one execution, wherever in the run they are; each row gets its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerOptions:
    """The keywords of `bulk_trigger`, as the user passed them."""

    version_id: str | None = None
    run: str | None = None
    key: Hashable = None
    webhook_url: str | None = None
    webhook_secret: Secret | None = None
    webhook: WebhookReceiver | None = None
    na: str = "omit"
    validate: bool = True
    max_concurrency: int | None = None
    max_cost: float | None = None
    ask: bool = False
    expires_in: int | None = None
    retrigger: bool = False
    on_unknown: str = "keep"
    prefix: str = ""
    inplace: bool = False
    wait: bool = False
    progress: bool | Observer | None = None

    def __repr__(self) -> str:
        return "TriggerOptions(...)"  # no traceback with local variables shows the URL, which may have a token

    def checked(self, workflow_id: str) -> Settings:
        """Return this call's settings.

        Raises
        ------
        ConfigurationError
            There is no API key, or a value is invalid.
        """
        settings = current(max_concurrency=self.max_concurrency)
        settings.key()
        checked_id("workflow_id", workflow_id)
        if self.version_id is not None:
            checked_id("version_id", self.version_id)
        if self.webhook is not None and (self.webhook_url is not None or self.webhook_secret is not None):
            msg = "webhook= brings its own URL and secret: leave webhook_url= and webhook_secret= out"
            raise ConfigurationError(msg)
        check_webhook(settings.dialect, self.webhook_url, self.webhook_secret)
        check_na(self.na)
        bars.check(self.progress)
        for name in ("validate", "ask", "retrigger", "inplace", "wait"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.prefix, str):
            msg = f"prefix must be a string; got {type(self.prefix).__name__}"
            raise ConfigurationError(msg)
        self._check_run(settings)
        refuse_in_dask(self.run)
        return settings

    def announced(self, settings: Settings) -> TriggerOptions:
        """Return these options with the URL and the secret of the receiver, if there is one.

        Raises
        ------
        ConfigurationError
            It is no receiver, is not running, or the API cannot reach it.
        """
        if self.webhook is None:
            return self
        url, secret = check_receiver(self.webhook).target(settings)
        return replace(self, webhook_url=url, webhook_secret=secret)

    def secrets(self) -> list[Secret]:
        """Return the secrets that must not get into a frame, a log or an error from a response of the API."""
        secrets = [self.webhook_secret, Secret.wrap(None if self.webhook is None else self.webhook_url)]
        return [secret for secret in secrets if secret is not None]

    def _check_run(self, settings: Settings) -> None:
        if self.run is not None:
            check_name(self.run)
            if settings.journal is None:
                msg = f"run={self.run!r} needs the journal, which is off: configure(journal=True) turns it on"
                raise ConfigurationError(msg)
        if self.key is not None and settings.journal is None:
            msg = f"key={self.key!r} needs the journal, which is off: configure(journal=True) turns it on"
            raise ConfigurationError(msg)
        if self.on_unknown not in ("keep", "resend"):
            msg = (
                "on_unknown must be 'keep' (do not send rows again whose response was lost) or 'resend' (search for "
                "them once more, then send and pay for those not found); got {self.on_unknown!r}"
            )
            raise ConfigurationError(msg)
        if self.max_cost is not None:
            check_positive("max_cost", self.max_cost, "USD")
        if self.expires_in is not None:
            check_whole("expires_in", self.expires_in, MIN_EXPIRES_IN, MAX_EXPIRES_IN)


def check_receiver(webhook: object) -> WebhookReceiver:
    """Return `webhook`.

    Raises
    ------
    ConfigurationError
        It is no `WebhookReceiver`.
    """
    from ..webhooks.receiver import WebhookReceiver

    if not isinstance(webhook, WebhookReceiver):
        msg = f"webhook must be a WebhookReceiver; got {type(webhook).__name__}; a URL goes into webhook_url="
        raise ConfigurationError(msg)
    return webhook


def check_na(na: object) -> bool:
    """Return whether a missing value leaves its key out.

    Raises
    ------
    ConfigurationError
        Neither "omit" nor "null".
    """
    if na not in ("omit", "null"):
        msg = f"na must be 'omit' (leave the key out) or 'null'; got {na!r}"
        raise ConfigurationError(msg)
    return na == "omit"


def check_name(run: object) -> str:
    """Return a run's name.

    Raises
    ------
    ConfigurationError
        It is not a valid name.
    """
    if not isinstance(run, str) or not run.strip() or len(run) > MAX_NAME_LENGTH or not run.isprintable():
        msg = f"run must be a name of 1 to {MAX_NAME_LENGTH} printable characters; got {run!r}"
        raise ConfigurationError(msg)
    return run
