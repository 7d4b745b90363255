"""The exception tree. Owns the classes and nothing else: the messages are written where exceptions are raised.

::

    EachlabsError
    |-- UsageError                what you did: nothing was sent
    |   |-- ConfigurationError    a key, a URL or a limit that cannot be used
    |   |-- MappingError          `inputs=` that cannot be read from this frame
    |   |-- InputError            a row whose values cannot become an input
    |   |-- ColumnError           a frame's columns in the way of the result's
    |   |-- FrameTypeError        not a pandas DataFrame
    |   |-- RunError              a named run that this call does not fit, or that is not there
    |   |-- JournalError          the journal cannot be opened, read or written
    |   `-- BridgeError           a synchronous call from where none can be made
    `-- APIError                  what the API did: `status` and `details` say what it answered
        |-- APIConnectionError    no connection, or no answer
        |-- AuthenticationError   401
        |-- PermissionDeniedError 403
        |-- NotFoundError         404
        `-- RateLimitError        429, for longer than `max_wait`

    Interrupted                   a KeyboardInterrupt that carries the frame as it stood
    UnsettledWarning              rows that are still open, or that could not be sent
"""

from __future__ import annotations

from typing import Any


class EachlabsError(Exception):
    """The base of every exception that this package raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: its protocol."""
        from .tracebacks import render

        return render(self)


class UsageError(EachlabsError):
    """Something in the call was wrong; nothing was sent."""


class ConfigurationError(UsageError, ValueError):
    """A key, a base URL or a limit that cannot be used."""


class MappingError(UsageError, ValueError):
    """``inputs=`` names what the frame has not, or names it in a way that cannot be read."""


class InputError(UsageError, ValueError):
    """A value cannot be part of an input; the message names its row and column."""


class ColumnError(UsageError, ValueError):
    """The frame's own columns stand where the result's must go, or the result's are missing."""


class FrameTypeError(UsageError, TypeError, AttributeError):
    """``.eachlabs`` was asked of something that is no pandas DataFrame.

    An ``AttributeError`` too, so that ``hasattr(series, "eachlabs")`` is false.
    """


class RunError(UsageError, ValueError):
    """A named run does not fit this call, or there is no such run; the message says what differs."""


class JournalError(UsageError, OSError):
    """The journal cannot be opened, read or written: without it nothing is sent, unless ``journal=None`` says so."""


class BridgeError(UsageError, RuntimeError):
    """A synchronous call was made where no event loop can serve it."""


class APIError(EachlabsError):
    """The API refused, or could not be reached.

    Attributes
    ----------
    status : int or None
        The HTTP status, or None where no answer came.
    details : str or None
        What the API itself said.
    """

    def __init__(self, message: str, *, status: int | None = None, details: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.details = details


class APIConnectionError(APIError):
    """No connection could be made, or no usable answer came back."""


class AuthenticationError(APIError):
    """The API does not accept the key (401)."""


class PermissionDeniedError(APIError):
    """The key is good, but may not do this (403)."""


class NotFoundError(APIError):
    """No such workflow, version, bulk operation or execution (404)."""


class RateLimitError(APIError):
    """The API went on answering 429 for longer than ``max_wait``."""


class Interrupted(KeyboardInterrupt):
    """A call was interrupted; what is known of its rows is in ``frame``.

    Attributes
    ----------
    frame : pandas.DataFrame
        The result as it stood: every answer that came in is in it.
    run : str or None
        The run to go on with, or to load.
    """

    def __init__(self, message: str, frame: Any, run: str | None = None) -> None:
        super().__init__(message)
        self.frame = frame
        self.run = run

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: its protocol."""
        from .tracebacks import render

        return render(self)


class UnsettledWarning(UserWarning):
    """Some rows are still open, or could not be sent; the message says how many and why."""
