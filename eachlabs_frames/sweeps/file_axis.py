"""``files_in``: the files that match a pattern, as the values of an axis. It lists folders and never opens a file."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Final, TypeAlias

from ..errors import ConfigurationError

SortKey: TypeAlias = tuple[tuple[str | int, ...], ...]

MAX_FILES: Final = 100_000
"""Files of an axis: each may be a paid execution, and each is uploaded."""

_WILDCARD: Final = re.compile(r"[*?\[]")
_DIGITS: Final = re.compile(r"(\d+)")


def files_in(*patterns: str | os.PathLike[str]) -> list[Path]:
    """Return the files that match a glob pattern, as an axis of `sweep`.

    Parameters
    ----------
    *patterns : str or path
        As for `glob.glob`: ``*`` and ``?`` match within one name, ``[...]`` matches one of some characters, and ``**``
        matches any number of folders. ``~`` at the start is the home folder. Several patterns give one list.

    Returns
    -------
    list of pathlib.Path
        At least one file, each of them once, also if links lead to it on several ways. Folders are left out, and so are
        hidden files (a name that begins with a dot) unless the pattern names the dot. The order is that of the folders
        and names without regard to case, with numbers by their value: ``photo2.jpg`` comes before ``photo10.jpg``.

    Raises
    ------
    ConfigurationError
        A pattern is empty, is no text or matches no file, or more than 100,000 files match.

    Examples
    --------
    >>> import eachlabs_frames as ef
    >>> ef.sweep(image=ef.files_in("photos/*.jpg"), style=["ink", "oil"])  # doctest: +SKIP
    """
    if not patterns:
        msg = "files_in needs a pattern, as in files_in('photos/*.jpg')"
        raise ConfigurationError(msg)
    found = [path for pattern in patterns for path in _matches(pattern)]
    # The path with the fewest folders stands for a file that is found in several ways, such as through a link.
    distinct = {path.resolve(): path for path in sorted(found, key=_depth_and_name, reverse=True)}
    return sorted(distinct.values(), key=_sort_key)


def _matches(pattern: object) -> list[Path]:
    """Return the files that one pattern matches."""
    text = os.fspath(pattern) if isinstance(pattern, str | os.PathLike) else pattern
    if not isinstance(text, str) or not text.strip():
        msg = f"files_in takes patterns such as 'photos/*.jpg', each as its own argument; got {pattern!r}"
        raise ConfigurationError(msg)
    place = str(Path(text).expanduser())
    names = glob.iglob(place, recursive=True)  # noqa: PTH207 - Path.glob finds hidden files too
    paths = [Path(name) for name in sorted(set(names))]
    files = [path for path in paths if path.is_file()]
    if not files:
        raise ConfigurationError(_no_match(text, Path(place), paths))
    if len(files) > MAX_FILES:
        msg = f"{text!r} matches {len(files):,} files, and an axis takes at most {MAX_FILES:,}: narrow the pattern"
        raise ConfigurationError(msg)
    return files


def _no_match(text: str, place: Path, matches: list[Path]) -> str:
    """Return why a pattern matches no file, and what to do."""
    folders = [path for path in matches if path.is_dir()]
    if folders:
        what = "is a folder" if folders == [place] else "matches folders and no file"
        return f"{text!r} {what}: for the files inside write {str(Path(text, '*'))!r}"
    named = re.split(r"[*?]", str(place))[0]
    if "[" in named and (Path(named) if named == str(place) else Path(f"{named}x").parent).exists():
        return f"{text!r} matches no file: [...] stands for one character; glob.escape() makes brackets literal"
    folder = Path(f"{_WILDCARD.split(str(place))[0]}x").parent.absolute()
    if not folder.is_dir():
        return f"{text!r} matches no file: there is no folder {str(folder)!r}"
    return f"{text!r} matches no file in {str(folder)!r}: check the pattern, and the case of its suffix"


def _depth_and_name(path: Path) -> tuple[int, SortKey]:
    return len(path.parts), _sort_key(path)


def _sort_key(path: Path) -> SortKey:
    """Return a key by which numbers in names are in the order of their values; no two paths have the same."""
    folded = tuple(
        # Texts and numbers alternate, so only values of the same type are compared.
        tuple(int(part) if at % 2 else part for at, part in enumerate(_DIGITS.split(name.casefold())))
        for name in path.parts
    )
    return *folded, (str(path),)
