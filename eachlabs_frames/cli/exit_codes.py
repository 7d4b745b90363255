"""The exit codes of the commands. 128 and the signal's number: a signal has ended the command, as in a shell."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
NOT_ALL: Final = 1
"""Some rows were not accepted, or not completed with ``--wait``; or the API returned an error."""
WRONG_CALL: Final = 2
"""The command cannot be used like this; nothing was sent."""
SIGNAL_CODE_BASE: Final = 128
