"""The exception tree. Owns the classes and nothing else: the messages are written where exceptions are raised.

::

    EachlabsError
    |-- UsageError                an error in the call: nothing was sent
    |   |-- ConfigurationError    a key, a URL or a limit that cannot be used
    |   |-- MappingError          `inputs=` that cannot be read from this frame
    |   |-- InputError            a row whose values cannot become an input
    |   |-- ColumnError           columns of the frame that conflict with the result's
    |   |-- FrameTypeError        not a pandas DataFrame
    |   |-- RunError              a named run that does not fit this call or does not exist
    |   |-- JournalError          the journal cannot be opened, read or written
    |   `-- BridgeError           a synchronous call where none is possible
    |-- DeclinedError             a no to the question of `ask=True`: nothing was sent
    `-- APIError                  an error of the API: `status` and `details` hold its response
        |-- APIConnectionError    no connection, or no response
        |-- AuthenticationError   401
        |-- PermissionDeniedError 403
        |-- NotFoundError         404
        `-- RateLimitError        429, for longer than `max_wait`

    Interrupted                   a KeyboardInterrupt with the frame so far
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
    """``inputs=`` names columns that the frame does not have, or is not a valid mapping."""


class InputError(UsageError, ValueError):
    """A value cannot be part of an input; the message names its row and column."""


class ColumnError(UsageError, ValueError):
    """The frame's own columns conflict with result columns, or result columns are missing."""


class FrameTypeError(UsageError, TypeError, AttributeError):
    """``.eachlabs`` was accessed on something that is not a pandas DataFrame.

    An ``AttributeError`` too, so that ``hasattr(series, "eachlabs")`` is false.
    """


class RunError(UsageError, ValueError):
    """A named run does not fit this call, or there is no such run; the message says what differs."""


class JournalError(UsageError, OSError):
    """The journal cannot be opened, read or written: without it nothing is sent, unless ``journal=None`` says so."""


class BridgeError(UsageError, RuntimeError):
    """A synchronous call was made where no event loop can serve it."""


class DeclinedError(EachlabsError):
    """The question of ``ask=True`` was not answered with yes; nothing was sent."""


class APIError(EachlabsError):
    """The API refused a request or could not be reached.

    Attributes
    ----------
    status : int or None
        The HTTP status, or None if there was no response.
    details : str or None
        The API's own error message.
    """

    def __init__(self, message: str, *, status: int | None = None, details: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.details = details


class APIConnectionError(APIError):
    """No connection could be made, or there was no usable response."""


class AuthenticationError(APIError):
    """The API does not accept the key (401)."""


class PermissionDeniedError(APIError):
    """The key is valid, but not allowed to do this (403)."""


class NotFoundError(APIError):
    """No such workflow, version, bulk operation or execution (404)."""


class RateLimitError(APIError):
    """The API kept responding with 429 for longer than ``max_wait``."""


class Interrupted(KeyboardInterrupt):
    """A call was interrupted; the results so far are in ``frame``.

    Attributes
    ----------
    frame : pandas.DataFrame
        The results so far, with every response that was received.
    run : str or None
        The name of the run, to continue or load it.
    """

    def __init__(self, message: str, frame: Any, run: str | None = None) -> None:
        super().__init__(message)
        self.frame = frame
        self.run = run

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: its protocol."""
        from .tracebacks import render

        return render(self)


def attach_frame(error: BaseException, frame: Any) -> None:
    """Give an exception that ends a call the results so far, as its attribute ``frame``."""
    vars(error)["frame"] = frame


class UnsettledWarning(UserWarning):
    """Some rows are still open, or could not be sent; the message says how many and why."""
