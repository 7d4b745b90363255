"""Images that are in no file, as PNG: PIL images and arrays. Equal pixels have one digest, whatever encodes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from ..inputs.file_values import UnusableFileError

if TYPE_CHECKING:
    from PIL.Image import Image

MODES: Final = frozenset({"1", "L", "LA", "I;16", "RGB", "RGBA"})
"""Modes that PNG has; a palette is replaced by its colours."""

_MAX_16_BIT: Final = 65_535
_STRIP: Final = 1024 * 1024
"""Pixels that are hashed at once."""

LEVEL: Final = 1
"""The compression: the others take several times as long for a few percent."""


def from_array(array: Any) -> Image:
    """Return an image of an array's pixels.

    Raises
    ------
    UnusableFileError
        It is no image array.
    """
    import PIL.Image  # only for calls with such a cell

    if array.dtype != "uint8" or array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        msg = (
            f"an array of shape {array.shape} and dtype {array.dtype} is no image: it must be height x width x 3 (RGB) "
            "or 4 (RGBA), of uint8"
        )
        raise UnusableFileError(msg)
    return PIL.Image.fromarray(array)


def plain(image: Image) -> Image:
    """Return an image in a mode that PNG has, with the same colours.

    Raises
    ------
    UnusableFileError
        It has no pixels, they cannot be read, or its mode has no counterpart in PNG.
    """
    try:
        if 0 in image.size:
            msg = f"an image of {image.width} x {image.height} pixels is empty"
            raise UnusableFileError(msg)
        image.load()
        if "transparency" in image.info or (image.mode == "P" and image.palette and image.palette.mode == "RGBA"):
            return image.convert("RGBA")
        if image.mode == "P":
            return image.convert("RGB")
        if image.mode == "I":
            low, high = cast("tuple[float, float]", image.getextrema())
            return image.convert("I;16") if low >= 0 and high <= _MAX_16_BIT else _refuse(image)
    except (OSError, SyntaxError, ValueError) as exc:
        if isinstance(exc, UnusableFileError):
            raise
        msg = f"an image cannot be read: {exc}"
        raise UnusableFileError(msg) from exc
    return image if image.mode in MODES else _refuse(image)


def _refuse(image: Image) -> NoReturn:
    msg = f"an image of mode {image.mode!r} cannot be written as PNG: convert it, as in image.convert('RGB')"
    raise UnusableFileError(msg)


def pixel_digest(image: Image) -> str:
    """Return the SHA-256 of an image's pixels, size, mode and colour profile.

    Not of the PNG, which depends on the version of the compressor: an upgrade must not make rows new.
    """
    profile = _profile(image) or b""
    checksum = hashlib.sha256(f"{image.mode} {image.width} {image.height} {len(profile)}\n".encode() + profile)
    height = max(1, _STRIP // image.width)
    for top in range(0, image.height, height):
        strip = image.crop((0, top, image.width, min(top + height, image.height)))
        checksum.update(strip.tobytes())
    return checksum.hexdigest()


def encode(image: Image, write: Callable[[bytes], object]) -> None:
    """Write an image as PNG, piece by piece, without metadata but the colour profile."""
    file: Any = _Writer(write)
    image.save(file, "PNG", compress_level=LEVEL, icc_profile=_profile(image), exif=None)


def _profile(image: Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


class _Writer:
    """All of a file that the encoder uses."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, piece: bytes) -> int:
        self._write(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing is kept back."""
