"""``df.eachlabs``: the door for pandas."""

from __future__ import annotations

from .doors.fetching import Fetching
from .doors.looking import Looking
from .doors.sending import Sending
from .doors.tracking import Tracking


class EachlabsAccessor(Sending, Tracking, Fetching, Looking):
    """The each::labs workflow API for the rows of a DataFrame.

    Raises
    ------
    FrameTypeError
        Not a pandas DataFrame.
    """
