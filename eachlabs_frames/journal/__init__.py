"""The journal: which rows were sent, and what became of them, whatever happens to the process.

Other packages use `open_journal` and `readable_name`, and the modules `base` (the Protocols and values), `records` (the
state of a run's rows), `upload_records` and `updates`. `sqlite`, `postgres` and `none` implement the Protocols, and
only this package imports them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..postgres_url import PostgresUrl

if TYPE_CHECKING:
    from .base import Journal


def open_journal(where: Path | PostgresUrl | None, *, max_wait: float = math.inf) -> Journal:
    """Return the journal in an SQLite file or a PostgreSQL database, or one that remembers nothing if it is None.

    The file or the tables are created when a run is opened.

    Parameters
    ----------
    where : pathlib.Path, PostgresUrl or None
    max_wait : float, optional
        Seconds that a running call waits for a server that is away, if that is less than the journal's own limit.

    Raises
    ------
    ConfigurationError
        The driver of PostgreSQL is not installed.
    """
    if where is None:
        from .none import NullJournal

        return NullJournal()
    if isinstance(where, PostgresUrl):
        try:
            from .postgres.journal import PostgresJournal
        except ImportError as exc:
            msg = f"a journal in PostgreSQL needs psycopg 3 ({exc}): pip install 'eachlabs-frames[postgres]'"
            raise ConfigurationError(msg) from exc
        return PostgresJournal(where, max_wait)
    from .sqlite.journal import SqliteJournal

    return SqliteJournal(where)


def readable_name(day: str, first: float, second: float) -> str:
    """Return a name for a run that was given none: a day (YYYY-MM-DD), and words that two numbers of [0, 1) choose."""
    quality = _QUALITIES[int(first * len(_QUALITIES))]
    return f"{day}-{quality}-{_CREATURES[int(second * len(_CREATURES))]}"


# fmt: off
_QUALITIES: Final = (
    "amber", "brave", "brisk", "bright", "calm", "clear", "clever", "cosy", "crisp", "eager", "early", "fair",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "jolly", "keen",
    "kind", "lively", "lucky", "mellow", "merry", "mild", "modest", "neat", "noble", "patient", "plain",
    "polite", "proud", "quick", "quiet", "rapid", "ready", "rosy", "round", "sharp", "shiny", "silent",
    "silver", "smart", "smooth", "snowy", "soft", "solid", "spry", "steady", "sunny", "swift", "tidy", "tiny",
    "true", "vivid", "warm", "wise", "witty", "young",
)

_CREATURES: Final = (
    "badger", "bear", "beaver", "bison", "bittern", "crane", "cricket", "curlew", "deer", "dipper", "dolphin",
    "dove", "eagle", "egret", "falcon", "ferret", "finch", "fox", "gannet", "gecko", "goose", "hare", "hawk",
    "heron", "hoopoe", "ibis", "jackdaw", "jay", "kestrel", "kite", "lark", "linnet", "lizard", "lynx",
    "magpie", "marten", "merlin", "mole", "moth", "newt", "octopus", "oriole", "osprey", "otter", "owl",
    "panda", "pelican", "petrel", "plover", "puffin", "quail", "raven", "robin", "rook", "seal", "shrew",
    "skylark", "sparrow", "stoat", "stork", "swan", "swift", "tern", "thrush", "toad", "trout", "vole",
    "weasel", "wren",
)
# fmt: on
